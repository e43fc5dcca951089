// JSON as a tree that can be expanded and copied, built as far as it is expanded.

import { add, cut, h, icon } from './dom.js';
import { copy } from './toast.js';
import { t } from './i18n.js';

const PAGE = 100;
const LONG_TEXT = 600;

/** The value on one line, for previews. */
export function preview(value, length = 80) {
  if (value === undefined || (value && typeof value === 'object' && Object.keys(value).length === 0)) return '';
  if (typeof value === 'string') return cut(value.replace(/\s+/g, ' '), length);
  let text;
  try {
    text = JSON.stringify(value) ?? '';
  } catch {
    text = '…';
  }
  return cut(text, length);
}

/** The value as text to copy. */
export const toText = value => (typeof value === 'string' ? value : JSON.stringify(value, null, 2) ?? '');

/** A button that copies the result of `text()`. */
export function copyButton(text) {
  return h('button', { type: 'button', class: 'quiet small', 'aria-label': t('copy'), title: t('copy'), on: { click: event => {
    event.preventDefault();
    event.stopPropagation();
    copy(text());
  } } }, icon('copy'));
}

/** A box with a heading, a copy button and the tree. */
export function jsonBlock(heading, value) {
  return h('div', { class: 'json-block' }, h('div', { class: 'json-head' }, h('span', {}, heading), copyButton(() => toText(value))),
    h('div', { class: 'json' }, tree(value, 2)));
}

/** The tree, with `open` levels expanded. */
export function tree(value, open = 1) {
  if (value === null || typeof value !== 'object') return leaf(value);
  const list = Array.isArray(value);
  const entries = list ? value.map((item, at) => [at, item]) : Object.entries(value);
  if (entries.length === 0) return h('span', { class: 'v-punct' }, list ? '[]' : '{}');
  const body = h('div', { class: 'json-body' });
  let built = false;
  const build = () => {
    if (built) return;
    built = true;
    more(body, entries, 0, open - 1);
  };
  const opened = open > 0 && entries.length <= PAGE;
  const details = h('details', { class: 'json-node', open: opened, on: { toggle: () => details.open && build() } },
    h('summary', {}, h('span', { class: 'v-punct' }, list ? `[${entries.length}]` : `{${entries.length}}`), ' ', h('span', { class: 'json-peek' }, opened ? '' : preview(value, 60))), body);
  if (opened) build();
  return details;
}

function more(body, entries, from, open) {
  const upto = Math.min(entries.length, from + PAGE);
  add(body, entries.slice(from, upto).map(([key, item]) => h('div', { class: 'json-row' }, h('span', { class: 'v-key' }, String(key)), ': ', tree(item, open))));
  if (upto < entries.length) {
    const button = h('button', { type: 'button', class: 'quiet small', on: { click: () => {
      button.remove();
      more(body, entries, upto, open);
    } } }, t('more', { count: entries.length - upto }));
    body.append(button);
  }
}

function leaf(value) {
  if (typeof value !== 'string') return h('span', { class: `v-${value === null ? 'null' : typeof value}` }, value === undefined ? '—' : String(value));
  if (value.length <= LONG_TEXT) return h('span', { class: 'v-string' }, value);
  const text = h('span', { class: 'v-string' }, cut(value, LONG_TEXT));
  const button = h('button', { type: 'button', class: 'quiet small', on: { click: () => {
    text.textContent = value;
    button.remove();
  } } }, t('show_all', { count: value.length }));
  return h('span', {}, text, ' ', button);
}
