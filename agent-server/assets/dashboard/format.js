// Times, counts and sizes in words, in the language of the page.

import { lang, t } from './i18n.js';

const formats = new Map();
function format(name, make) {
  const key = `${lang()}|${name}`;
  let known = formats.get(key);
  if (!known) formats.set(key, (known = make(lang())));
  return known;
}

export const number = value => format('number', code => new Intl.NumberFormat(code)).format(value ?? 0);

/** 1234 to 1.2k. */
export const short = value => format('short', code => new Intl.NumberFormat(code, { notation: 'compact', maximumFractionDigits: 1 })).format(value ?? 0);

export const clock = ms => format('clock', code => new Intl.DateTimeFormat(code, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })).format(ms);

export const dateTime = ms => format('date', code => new Intl.DateTimeFormat(code, { dateStyle: 'medium', timeStyle: 'medium' })).format(ms);

/** How long ago, in the largest unit. */
export function ago(ms) {
  const seconds = Math.round((ms - Date.now()) / 1000);
  const relative = format('ago', code => new Intl.RelativeTimeFormat(code, { numeric: 'auto', style: 'short' }));
  const past = Math.abs(seconds);
  if (past < 5) return t('now');
  if (past < 60) return relative.format(seconds, 'second');
  if (past < 3_600) return relative.format(Math.round(seconds / 60), 'minute');
  if (past < 86_400) return relative.format(Math.round(seconds / 3_600), 'hour');
  return relative.format(Math.round(seconds / 86_400), 'day');
}

/** A length of time: 12 ms, 3.4 s, 2 min 5 s. */
export function span(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const seconds = Math.round(ms / 1_000);
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${(value / 1024).toFixed(1)} KiB`;
  return `${(value / 1024 / 1024).toFixed(1)} MiB`;
}
