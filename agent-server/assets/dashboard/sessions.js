// The list of sessions: searched, filtered, in pages, kept live.

import { api } from './api.js';
import { h, keyed, setAttr, setText } from './dom.js';
import { ago, dateTime } from './format.js';
import { t } from './i18n.js';

const PAGE = 50;
const EVERY = 3_000;
const SLOWEST = 30_000;

export class SessionsView {
  /** `parts`: list, more, note, search, filter. `on.listed(error?)` after each look. */
  constructor(parts, on) {
    Object.assign(this, parts);
    this.on = on;
    this.known = new Map();
    this.chosen = undefined;
    this.next = null;
    this.wait = EVERY;
    this.search.addEventListener('input', () => this.draw());
    this.filter.addEventListener('change', () => this.restart());
    this.more.addEventListener('click', () => this.page());
    document.addEventListener('visibilitychange', () => document.hidden || this.look());
  }

  restart() {
    this.known.clear();
    this.next = null;
    this.paged = false;
    this.draw();
    this.look();
  }

  /** Looks at the newest page, again and again. */
  async look() {
    clearTimeout(this.timer);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    let fault;
    try {
      const status = this.filter.value;
      const { sessions, next } = await api.sessions({ limit: PAGE, status });
      if (turn !== this.turn) return;
      this.before = new Map(this.known);
      if (!this.paged) {
        this.next = next ?? null;
        this.known.clear();
      } else {
        // What stood on the first page and does not any more was deleted, or has another status now.
        const oldest = sessions.at(-1)?.at ?? -Infinity;
        const here = new Set(sessions.map(one => one.session_id));
        for (const [id, one] of this.known) if (!here.has(id) && (one.at > oldest || sessions.length < PAGE)) this.known.delete(id);
      }
      for (const one of sessions) this.known.set(one.session_id, one);
      this.wait = EVERY;
      this.looked = true;
    } catch (error) {
      if (turn !== this.turn) return;
      fault = error;
      this.wait = Math.min(this.wait * 2, SLOWEST);
    }
    this.fault = fault;
    this.draw();
    this.on.listed(fault);
    if (!document.hidden) this.timer = setTimeout(() => this.look(), this.wait);
  }

  async page() {
    if (!this.next) return;
    this.more.disabled = true;
    try {
      const { sessions, next } = await api.sessions({ limit: PAGE, status: this.filter.value, before: this.next });
      for (const one of sessions) if (!this.known.has(one.session_id)) this.known.set(one.session_id, one);
      this.next = next ?? null;
      this.paged = true;
      this.draw();
    } catch (error) {
      this.on.failed(error);
    }
    this.more.disabled = false;
  }

  /** The chosen session is known better here than by the last look. */
  touch(id, fields) {
    const one = this.known.get(id);
    if (one && Object.entries(fields).every(([name, value]) => one[name] === value)) return;
    if (one) Object.assign(one, fields);
    else if (!this.filter.value || this.filter.value === fields.status) this.known.set(id, { session_id: id, at: Date.now(), ...fields });
    this.draw();
  }

  /** Whether the last look did not find a session that the look before had found. */
  lost(id) {
    return !this.filter.value && Boolean(this.before?.has(id)) && !this.known.has(id);
  }

  forget(id) {
    this.known.delete(id);
    this.draw();
  }

  choose(id) {
    this.chosen = id;
    this.draw();
    this.list.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest' });
  }

  shown() {
    const words = this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    return [...this.known.values()]
      .filter(one => words.every(word => `${one.session_id} ${one.title ?? ''} ${one.agent ?? ''} ${one.status} ${t(`status.${one.status}`)}`.toLowerCase().includes(word)))
      .sort((a, b) => b.at - a.at || (a.session_id < b.session_id ? -1 : 1));
  }

  /** The session `step` places from the selected one. */
  beside(step) {
    const shown = this.shown();
    const at = shown.findIndex(one => one.session_id === this.chosen);
    return shown[at < 0 ? 0 : Math.min(Math.max(at + step, 0), shown.length - 1)]?.session_id;
  }

  draw() {
    const shown = this.shown();
    keyed(this.list, shown, one => one.session_id, one => this.create(one), (element, one) => this.update(element, one));
    this.more.hidden = !this.next;
    const note = this.fault ? this.fault.message : shown.length > 0 ? '' : this.looked ? t(this.known.size > 0 ? 'sessions.no_match' : 'sessions.none') : t('sessions.loading');
    this.note.hidden = !note;
    setText(this.note, note);
  }

  create(one) {
    const parts = { dot: h('span', { class: 'dot', 'aria-hidden': 'true' }), id: h('span', { class: 'id mono' }, one.session_id), when: h('span', { class: 'when' }), agent: h('span', { class: 'agent' }), status: h('span', { class: 'state' }), asks: h('span', { class: 'badge' }) };
    const link = h('a', { href: `#/s/${encodeURIComponent(one.session_id)}`, title: one.session_id }, h('span', { class: 'line' }, parts.dot, parts.id, parts.asks), h('span', { class: 'line under' }, parts.status, parts.agent, parts.when));
    const element = h('li', {}, link);
    element.parts = parts;
    return element;
  }

  update(element, one) {
    const { parts } = element;
    setAttr(element.firstChild, 'aria-current', one.session_id === this.chosen ? 'page' : null);
    setAttr(element, 'data-status', one.status);
    element.classList.toggle('titled', Boolean(one.title));
    setText(parts.id, one.title ?? one.session_id);
    setText(parts.status, t(`status.${one.status}`));
    setText(parts.agent, one.agent ?? '');
    setText(parts.when, ago(one.at));
    parts.when.title = dateTime(one.at);
    parts.asks.hidden = !(one.questions > 0);
    setText(parts.asks, one.questions > 0 ? `? ${one.questions}` : '');
    parts.asks.title = one.questions > 0 ? t('sessions.questions', { count: one.questions }) : '';
  }
}
