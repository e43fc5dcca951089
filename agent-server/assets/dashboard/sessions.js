// The list of sessions: searched, filtered, in pages, kept live.

import { api } from './api.js';
import { h, keyed, setAttr, setText } from './dom.js';
import { ago, dateTime } from './format.js';
import { t } from './i18n.js';

const PAGE = 50;
const REFRESH_INTERVAL = 3_000;
const MAX_BACKOFF = 30_000;

export class SessionsView {
  /** `parts`: list, more, note, search, filter. `on.refreshed(error?)` after each refresh. */
  constructor(parts, on) {
    Object.assign(this, parts);
    this.on = on;
    this.byId = new Map();
    this.selected = undefined;
    this.next = null;
    this.backoff = REFRESH_INTERVAL;
    this.search.addEventListener('input', () => this.draw());
    this.filter.addEventListener('change', () => this.restart());
    this.more.addEventListener('click', () => this.page());
    document.addEventListener('visibilitychange', () => document.hidden || this.refresh());
  }

  restart() {
    this.byId.clear();
    this.next = null;
    this.hasMorePages = false;
    this.draw();
    this.refresh();
  }

  /** Loads the newest page, and repeats this. */
  async refresh() {
    clearTimeout(this.timer);
    const request = (this.request = (this.request ?? 0) + 1);
    let lastError;
    try {
      const status = this.filter.value;
      const { sessions, next } = await api.sessions({ limit: PAGE, status });
      if (request !== this.request) return;
      this.previous = new Map(this.byId);
      if (!this.hasMorePages) {
        this.next = next ?? null;
        this.byId.clear();
      } else {
        // A session that is no longer on the first page was deleted, or has another status.
        const oldest = sessions.at(-1)?.at ?? -Infinity;
        const current = new Set(sessions.map(one => one.session_id));
        for (const [id, one] of this.byId) if (!current.has(id) && (one.at > oldest || sessions.length < PAGE)) this.byId.delete(id);
      }
      for (const one of sessions) this.byId.set(one.session_id, one);
      this.backoff = REFRESH_INTERVAL;
      this.loaded = true;
    } catch (error) {
      if (request !== this.request) return;
      lastError = error;
      this.backoff = Math.min(this.backoff * 2, MAX_BACKOFF);
    }
    this.lastError = lastError;
    this.draw();
    this.on.refreshed(lastError);
    if (!document.hidden) this.timer = setTimeout(() => this.refresh(), this.backoff);
  }

  async page() {
    if (!this.next) return;
    this.more.disabled = true;
    try {
      const { sessions, next } = await api.sessions({ limit: PAGE, status: this.filter.value, before: this.next });
      for (const one of sessions) if (!this.byId.has(one.session_id)) this.byId.set(one.session_id, one);
      this.next = next ?? null;
      this.hasMorePages = true;
      this.draw();
    } catch (error) {
      this.on.failed(error);
    }
    this.more.disabled = false;
  }

  /** Updates fields of the open session, which are newer than the list. */
  patch(id, fields) {
    const one = this.byId.get(id);
    if (one && Object.entries(fields).every(([name, value]) => one[name] === value)) return;
    if (one) Object.assign(one, fields);
    else if (!this.filter.value || this.filter.value === fields.status) this.byId.set(id, { session_id: id, at: Date.now(), ...fields });
    this.draw();
  }

  /** Returns whether the last refresh no longer has a session that the one before had. */
  wasDeleted(id) {
    return !this.filter.value && Boolean(this.previous?.has(id)) && !this.byId.has(id);
  }

  remove(id) {
    this.byId.delete(id);
    this.draw();
  }

  select(id) {
    this.selected = id;
    this.draw();
    this.list.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest' });
  }

  visible() {
    const words = this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    return [...this.byId.values()]
      .filter(one => words.every(word => `${one.session_id} ${one.title ?? ''} ${one.agent ?? ''} ${one.status} ${t(`status.${one.status}`)}`.toLowerCase().includes(word)))
      .sort((a, b) => b.at - a.at || (a.session_id < b.session_id ? -1 : 1));
  }

  /** The session `step` places from the selected one. */
  neighbor(step) {
    const visible = this.visible();
    const at = visible.findIndex(one => one.session_id === this.selected);
    return visible[at < 0 ? 0 : Math.min(Math.max(at + step, 0), visible.length - 1)]?.session_id;
  }

  draw() {
    const visible = this.visible();
    keyed(this.list, visible, one => one.session_id, one => this.create(one), (element, one) => this.update(element, one));
    this.more.hidden = !this.next;
    const note = this.lastError ? this.lastError.message : visible.length > 0 ? '' : this.loaded ? t(this.byId.size > 0 ? 'sessions.no_match' : 'sessions.none') : t('sessions.loading');
    this.note.hidden = !note;
    setText(this.note, note);
  }

  create(one) {
    const parts = { dot: h('span', { class: 'dot', 'aria-hidden': 'true' }), id: h('span', { class: 'id mono' }, one.session_id), when: h('span', { class: 'when' }), agent: h('span', { class: 'agent' }), status: h('span', { class: 'state' }), questionBadge: h('span', { class: 'badge' }) };
    const link = h('a', { href: `#/s/${encodeURIComponent(one.session_id)}`, title: one.session_id }, h('span', { class: 'line' }, parts.dot, parts.id, parts.questionBadge), h('span', { class: 'line under' }, parts.status, parts.agent, parts.when));
    const element = h('li', {}, link);
    element.parts = parts;
    return element;
  }

  update(element, one) {
    const { parts } = element;
    setAttr(element.firstChild, 'aria-current', one.session_id === this.selected ? 'page' : null);
    setAttr(element, 'data-status', one.status);
    element.classList.toggle('titled', Boolean(one.title));
    setText(parts.id, one.title ?? one.session_id);
    setText(parts.status, t(`status.${one.status}`));
    setText(parts.agent, one.agent ?? '');
    setText(parts.when, ago(one.at));
    parts.when.title = dateTime(one.at);
    parts.questionBadge.hidden = !(one.questions > 0);
    setText(parts.questionBadge, one.questions > 0 ? `? ${one.questions}` : '');
    parts.questionBadge.title = one.questions > 0 ? t('sessions.questions', { count: one.questions }) : '';
  }
}
