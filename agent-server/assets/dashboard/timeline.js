// The journal as a list that one can walk along: each entry, the state at it, what changed between two, a fork from it.

import { api } from './api.js';
import { cut, h, setAttr, setText, soon } from './dom.js';
import { bytes, clock, dateTime, span } from './format.js';
import { block, brief, tree, copyButton, whole } from './json.js';
import { failed } from './toast.js';
import { t } from './i18n.js';

const ROW = 28;
const AHEAD = 12;
const SETTLE = 120;
const KEPT = 60;
/** Changes shown at once. */
const CHANGES = 300;

/** What an entry says, in a few words. */
export function summary({ type, data, task }) {
  switch (type) {
    case 'run_started':
      return [data.graph, data.next?.length && `→ ${data.next.join(', ')}`].filter(Boolean).join(' ');
    case 'run_queued':
      return data.graph ?? '';
    case 'run_paused':
      return (data.questions ?? []).join(', ');
    case 'run_failed':
    case 'run_dequeued':
      return [data.node, data.message].filter(Boolean).join(': ');
    case 'run_completed':
      return [data.active_ms !== undefined && span(data.active_ms), data.supersteps !== undefined && t('timeline.supersteps', { count: data.supersteps })].filter(Boolean).join(' · ');
    case 'superstep_committed':
      return `${task ? `${task} · ` : ''}${data.superstep}${data.next?.length ? ` → ${data.next.join(', ')}` : ''}`;
    case 'subgraph_started':
      return `${task ?? ''} → ${(data.next ?? []).join(', ')}`;
    case 'node_finished':
      return `${task ?? data.node}${data.update && typeof data.update === 'object' ? `: ${Object.keys(data.update).join(', ')}` : ''}${data.cached ? ` (${t('timeline.cached')})` : ''}`;
    case 'node_failed':
      return `${task ?? data.node} (${data.attempt}): ${data.message}`;
    case 'step_recorded':
      return `${data.kind} ${data.key} · ${span(data.ms ?? 0)}${data.error ? ` · ${data.error}` : ''}`;
    case 'tool_called':
      return `${data.name} ${brief(data.arguments, 60)}`;
    case 'question_asked':
      return data.question?.prompt ?? '';
    case 'question_answered':
      return `${data.id} → ${brief(data.value, 60)}`;
    case 'question_withdrawn':
      return data.id;
    case 'todo_updated':
      return `${data.title ?? data.id}: ${t(`todo.${data.status}`)}${data.status === 'in_progress' ? ` ${data.progress}%` : ''}${data.message && data.message !== data.title ? ` · ${data.message}` : ''}`;
    case 'custom':
      return `${data.name} ${brief(data.value, 60)}`;
    case 'state_edited':
      return `${data.node}: ${brief(data.update, 60)}`;
    case 'session_forked':
      return `${data.from} #${data.seq}`;
    case 'gap':
      return t('timeline.gap', { from: data.after + 1, upto: data.upto });
    default:
      return brief(data, 80);
  }
}

const family = type => type.split('_')[0];

export class TimelineView {
  /** `on.older(upto?)` loads a page of what came before, or back to a number, and gives a promise; `on.fork(seq)`. */
  constructor(element, on) {
    this.on = on;
    this.redraw = soon(() => this.rows());
    this.state = new Map();
    this.build(element);
  }

  build(element) {
    this.filter = h('input', { type: 'search', on: { input: () => this.draw(this.story) } });
    this.earlier = h('button', { type: 'button', class: 'quiet small', on: { click: () => this.on.older() } });
    this.slide = h('input', { type: 'range', class: 'slide', min: '0', max: '0', step: '1', on: { input: () => this.pick(this.shown[Number(this.slide.value)], true) } });
    this.space = h('div', { class: 'rows' });
    this.list = h('div', { class: 'journal', role: 'listbox', tabindex: '0', id: 'journal', on: {
      scroll: this.redraw, keydown: event => this.key(event),
      click: event => {
        const row = event.target.closest('[data-at]');
        if (row) this.pick(this.shown[Number(row.dataset.at)]);
      },
    } }, this.space);
    this.none = h('p', { class: 'empty' });
    this.head = h('div', { class: 'inspect-head' });
    this.body = h('div', { class: 'inspect-body', tabindex: '0', role: 'region', id: 'inspect' });
    this.box = h('div', { class: 'inspect' }, this.head, this.body);
    this.hint = h('p', { class: 'empty hint' });
    element.append(h('div', { class: 'walk' }, h('div', { class: 'walk-head' }, this.filter, this.earlier), this.slide, this.none, this.list), this.box, this.hint);
    new ResizeObserver(this.redraw).observe(this.list);
    this.shown = [];
    this.drawn = 0;
    this.mode = 'entry';
    this.words();
  }

  /** The words of the language of the page. */
  words() {
    setAttr(this.filter, 'placeholder', t('timeline.filter'));
    setAttr(this.filter, 'aria-label', t('timeline.filter'));
    setText(this.earlier, t('timeline.older'));
    setAttr(this.slide, 'aria-label', t('timeline.slide'));
    setAttr(this.list, 'aria-label', t('timeline.list'));
    setAttr(this.body, 'aria-label', t('timeline.inspect'));
    if (this.story) {
      this.space.replaceChildren();
      this.draw(this.story);
      this.inspect();
    }
  }

  reset(id) {
    this.id = id;
    this.state.clear();
    this.chosen = undefined;
    this.mark = undefined;
    this.story = undefined;
    this.shown = [];
    this.drawn = 0;
    this.space.replaceChildren();
    this.inspect();
  }

  draw(story) {
    if (!story) return;
    this.story = story;
    const atTop = Math.floor(this.list.scrollTop / ROW);
    const anchor = this.shown[atTop];
    const words = this.filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = words.length === 0 ? story.entries
      : story.entries.filter(entry => {
        const text = `${entry.seq ?? ''} ${entry.type} ${t(`event.${entry.type}`)} ${entry.task ?? ''} ${summary(entry)}`.toLowerCase();
        return words.every(word => text.includes(word));
      });
    this.earlier.hidden = story.first <= 1;
    this.none.hidden = this.shown.length > 0;
    setText(this.none, t('timeline.none'));
    this.slide.max = String(Math.max(this.shown.length - 1, 0));
    this.slide.disabled = this.shown.length < 2;
    const atEnd = this.drawn * ROW - this.list.scrollTop - this.list.clientHeight < ROW * 2;
    // The list of the story grows between frames; rows are for as many as there is room for.
    this.drawn = this.shown.length;
    this.space.style.height = `${this.drawn * ROW}px`;
    if (!this.chosen && (atEnd || this.fresh !== story)) this.list.scrollTop = this.shown.length * ROW;
    else if (anchor && this.shown[atTop] !== anchor) {
      // What was put in front must not move what is looked at.
      const now = this.shown.indexOf(anchor);
      if (now >= 0) this.list.scrollTop += (now - atTop) * ROW;
    }
    this.fresh = story;
    this.rows();
  }

  /** Only the rows that can be seen exist. */
  rows() {
    const first = Math.max(Math.floor(this.list.scrollTop / ROW) - AHEAD, 0);
    const upto = Math.min(first + Math.ceil((this.list.clientHeight || 400) / ROW) + AHEAD * 2, this.drawn);
    const wanted = new Map();
    for (let at = first; at < upto; at += 1) wanted.set(this.nameOf(this.shown[at]), at);
    const here = new Map();
    for (const row of [...this.space.children]) {
      if (wanted.has(row.dataset.key)) here.set(row.dataset.key, row);
      else row.remove();
    }
    let before = null;
    for (const [name, at] of wanted) {
      let row = here.get(name);
      if (!row) {
        row = this.row(this.shown[at]);
        row.dataset.key = name;
      }
      if (row !== (before ? before.nextSibling : this.space.firstChild)) this.space.insertBefore(row, before ? before.nextSibling : this.space.firstChild);
      before = row;
      row.style.transform = `translateY(${at * ROW}px)`;
      setAttr(row, 'data-at', at);
      setAttr(row, 'aria-posinset', at + 1);
      setAttr(row, 'aria-setsize', this.shown.length);
      setAttr(row, 'aria-selected', String(this.shown[at] === this.chosen));
      setAttr(row, 'data-mark', this.shown[at].seq !== undefined && this.shown[at].seq === this.mark ? 'a' : null);
    }
    const chosen = this.chosen && wanted.has(this.nameOf(this.chosen)) ? `row-${this.nameOf(this.chosen)}` : null;
    setAttr(this.list, 'aria-activedescendant', chosen);
    const at = this.chosen ? this.shown.indexOf(this.chosen) : this.shown.length - 1;
    if (at >= 0 && document.activeElement !== this.slide) this.slide.value = String(at);
    setAttr(this.slide, 'aria-valuetext', this.chosen ? `${this.nameOf(this.chosen)} ${t(`event.${this.chosen.type}`)}` : t('timeline.end'));
  }

  nameOf(entry) {
    return entry.seq !== undefined ? String(entry.seq) : `gap-${entry.data.upto}`;
  }

  row(entry) {
    return h('div', { class: 'entry', role: 'option', id: `row-${this.nameOf(entry)}`, data: { family: family(entry.type), type: entry.type } },
      h('span', { class: 'seq' }, entry.seq ?? '⋯'), h('span', { class: 'time' }, clock(entry.at)), h('span', { class: 'type' }, t(`event.${entry.type}`)), h('span', { class: 'what' }, cut(summary(entry), 240)));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(Math.floor(this.list.clientHeight / ROW) - 1, 1);
    const last = this.shown.length - 1;
    const at = this.chosen ? this.shown.indexOf(this.chosen) : last + (event.key === 'ArrowUp' ? 1 : 0);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    if (event.key === 'Home' && !this.earlier.hidden) {
      this.on.older(1).then(() => this.pick(this.shown[0]));
      return;
    }
    if (to < 0 && !this.earlier.hidden) this.on.older();
    this.pick(this.shown[Math.min(Math.max(to, 0), last)]);
  }

  /** Chooses an entry. */
  pick(entry, scrubbed = false) {
    if (!entry) return;
    this.chosen = entry;
    const at = this.shown.indexOf(entry);
    const [top, bottom] = [at * ROW, (at + 1) * ROW];
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (bottom > this.list.scrollTop + this.list.clientHeight) this.list.scrollTop = bottom - this.list.clientHeight;
    this.rows();
    clearTimeout(this.settling);
    if (scrubbed || this.mode !== 'entry') this.settling = setTimeout(() => this.inspect(), SETTLE);
    else this.inspect();
  }

  /** Chooses the place that a comparison begins at. */
  setMark() {
    if (this.chosen?.seq === undefined) return;
    this.mark = this.chosen.seq;
    this.rows();
    this.inspect();
  }

  compare() {
    if (this.chosen?.seq === undefined) return;
    this.mode = 'diff';
    this.mark ??= this.before(this.chosen.seq);
    this.rows();
    this.inspect();
  }

  forkHere() {
    if (this.chosen?.seq !== undefined) this.on.fork(this.chosen.seq);
  }

  before(seq) {
    return this.story.entries.findLast(entry => entry.seq < seq)?.seq ?? 0;
  }

  inspect() {
    const entry = this.chosen;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    this.box.hidden = !entry;
    this.hint.hidden = Boolean(entry);
    setText(this.hint, t('timeline.hint'));
    if (!entry) return;
    const active = document.activeElement?.dataset?.mode;
    const tab = mode => h('button', { type: 'button', class: 'chip', 'aria-pressed': String(this.mode === mode), data: { mode }, on: { click: () => {
      this.mode = mode;
      this.inspect();
    } } }, t(`timeline.${mode}`));
    const numbered = entry.seq !== undefined;
    this.head.replaceChildren(h('div', { class: 'row' }, h('strong', {}, numbered ? `#${entry.seq} ` : '', t(`event.${entry.type}`)), h('span', { class: 'faint mono' }, entry.task ?? ''), h('span', { class: 'faint' }, dateTime(entry.at))),
      h('div', { class: 'row' }, h('span', { class: 'chips', role: 'group', 'aria-label': t('timeline.inspect') }, tab('entry'), numbered && tab('state'), numbered && tab('diff'))),
      h('div', { class: 'row' },
        numbered && h('button', { type: 'button', class: 'small', id: 'mark', on: { click: () => this.setMark() } }, t(this.mark === entry.seq ? 'timeline.marked' : 'timeline.mark')),
        numbered && h('button', { type: 'button', class: 'small', id: 'fork-here', on: { click: () => this.forkHere() } }, t('timeline.fork'))));
    if (active) this.head.querySelector(`[data-mode="${CSS.escape(active)}"]`)?.focus();
    if (this.mode === 'entry' || !numbered) this.showEntry(entry, turn);
    else if (this.mode === 'state') this.showState(entry, turn);
    else this.showDiff(entry, turn);
  }

  async showEntry(entry, turn) {
    this.body.replaceChildren(block(entry.type, entry.data));
    if (!entry.thin || entry.seq === undefined) return;
    try {
      const { entries } = await api.journal(this.id, entry.seq - 1, 1);
      if (entries[0]?.seq !== entry.seq) return;
      Object.assign(entry, { data: { ...entry.data, ...entries[0].data }, task: entries[0].task, run: entries[0].run, thin: false });
      if (turn === this.turn) this.body.replaceChildren(block(entry.type, entry.data));
    } catch {
      // the event received over the socket is already shown
    }
  }

  waiting() {
    this.body.setAttribute('aria-busy', 'true');
    if (!this.body.firstChild) this.body.append(h('p', { class: 'faint' }, t('loading')));
  }

  settled(turn, ...children) {
    if (turn !== this.turn) return;
    this.body.removeAttribute('aria-busy');
    this.body.replaceChildren(...children);
  }

  async stateAt(seq) {
    let known = this.state.get(seq);
    if (!known) {
      known = api.state(this.id, seq);
      this.state.set(seq, known);
      known.catch(() => this.state.delete(seq));
      if (this.state.size > KEPT) this.state.delete(this.state.keys().next().value);
    }
    return known;
  }

  async showState({ seq }, turn) {
    this.waiting();
    try {
      const { state, todos = [], questions = [] } = await this.stateAt(seq);
      const size = new Blob([JSON.stringify(state) ?? '']).size;
      this.settled(turn, h('div', { class: 'json-block' }, h('div', { class: 'json-head' }, h('span', {}, `${t('timeline.state_at', { seq })} · ${bytes(size)}`), copyButton(() => whole(state))), h('div', { class: 'json' }, tree(state, 2))),
        todos.length > 0 ? block(t('todos'), todos.map(todo => `${todo.title ?? todo.todo_id ?? todo.id}: ${todo.status} ${todo.progress ?? 0}%`)) : '',
        questions.length > 0 ? block(t('questions'), questions) : '');
    } catch (error) {
      this.settled(turn, h('p', { class: 'problem', role: 'alert' }, error.message));
    }
  }

  async showDiff(entry, turn) {
    const from = this.mark ?? this.before(entry.seq);
    const [least, most] = [from, entry.seq];
    const input = (name, value) => h('input', { type: 'number', min: '0', max: String(this.story.last), value: String(value), 'aria-label': t(`timeline.${name}`), class: 'seq-input' });
    const [a, b] = [input('from', least), input('to', most)];
    const form = h('form', { class: 'row diff-form', on: { submit: async event => {
      event.preventDefault();
      this.mark = Number(a.value);
      const wanted = Number(b.value);
      if (wanted > 0 && wanted < this.story.first) await this.on.older(wanted);
      const there = this.story.entries.find(other => other.seq === wanted);
      if (there) this.pick(there);
      else notFound(this, wanted);
      this.rows();
    } } }, h('span', { class: 'faint' }, t('timeline.from')), a, h('span', { class: 'faint' }, t('timeline.to')), b, h('button', { class: 'small' }, t('timeline.compare')));
    this.waiting();
    try {
      const { changes, cut } = await api.diff(this.id, least, most);
      const now = change => ('to' in change ? change.to : change.value);
      const rows = changes.slice(0, CHANGES).map(change => h('div', { class: `change ${change.op}` },
        h('span', { class: 'op', title: t(`diff.${change.op}`) }, { add: '+', remove: '−', replace: '~' }[change.op] ?? '?'), h('span', { class: 'sr' }, t(`diff.${change.op}`)), h('span', { class: 'path mono' }, change.path || '/'),
        h('div', { class: 'values' }, change.op !== 'add' && change.from !== undefined && h('div', { class: 'old' }, tree(change.from, 0)), change.op !== 'remove' && now(change) !== undefined && h('div', { class: 'new' }, tree(now(change), 1)))));
      this.settled(turn, form, h('p', { class: 'faint' }, t('diff.count', { count: changes.length })), ...rows, changes.length > CHANGES ? h('p', { class: 'faint' }, t('more', { count: changes.length - CHANGES })) : '', cut ? h('p', { class: 'faint' }, t('diff.cut')) : '');
    } catch (error) {
      this.settled(turn, form, h('p', { class: 'problem', role: 'alert' }, error.message));
    }
  }
}

function notFound(view, seq) {
  failed(Object.assign(new Error(t('timeline.no_entry', { seq })), { status: 404 }));
  view.inspect();
}
