// Single keys do things, unless one is typing, a dialog is open, or they are switched off.

import { remembered } from './prefs.js';

const typing = element => element?.closest?.('textarea, select, [contenteditable], input:not([type=checkbox], [type=range])');

/**
 * Listens for `shortcuts` (`[key, name, act]`). `on.escape()`; `on.option(number, from)` is the button that a digit
 * presses.
 */
export function listen(shortcuts, on) {
  // By place too: a Korean keyboard gives ㅓ where others give j.
  const places = new Map(shortcuts.filter(([key, , act]) => act && /^[a-z]$/.test(key)).map(([key, , act]) => [`Key${key.toUpperCase()}`, act]));
  const keys = new Map(shortcuts.filter(([, , act]) => act).map(([key, , act]) => [key, act]));
  document.addEventListener('keydown', event => {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape') {
      on.escape();
      return;
    }
    if (typing(event.target) || remembered('shortcuts') === 'off') return;
    const act = /^[1-9]$/.test(event.key) ? pressing(on.option(Number(event.key), event.target))
      : keys.get(event.key) ?? (/^[a-z?/]$/i.test(event.key) || event.shiftKey ? undefined : places.get(event.code));
    if (!act) return;
    event.preventDefault();
    act();
  });
}

const pressing = button => button && (() => button.click());
