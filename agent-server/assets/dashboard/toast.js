// Notices to the person, and the clipboard.

import { h } from './dom.js';
import { t } from './i18n.js';

const MAX_NOTICES = 4;

/** Shows a text for a while; errors stay until they are closed. */
export function notice(text, kind = 'info') {
  const region = document.getElementById(kind === 'error' ? 'alerts' : 'notices');
  const close = () => note.remove();
  const note = h('div', { class: `notice ${kind}` }, h('span', {}, text),
    h('button', { type: 'button', class: 'quiet small', 'aria-label': t('close'), on: { click: close } }, '✕'));
  for (const old of region.children) if (old.firstChild.textContent === text) old.remove();
  while (region.children.length >= MAX_NOTICES) region.firstElementChild.remove();
  region.append(note);
  setTimeout(close, kind === 'error' ? 15_000 : 4_000);
}

/** Shows the error of a request. */
export function showError(error) {
  if (error?.status === 401) return; // the dialog for the API key is already open
  if (!('status' in error)) console.error(error);
  notice(error.message, 'error');
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice(t('copied'));
  } catch {
    const area = h('textarea', { class: 'offscreen' });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    notice(t(done ? 'copied' : 'copy_failed'), done ? 'info' : 'error');
  }
}
