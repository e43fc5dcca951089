// The journal as a list: each entry, the state at it, the changes between two entries, forks.

import { api } from './api.js';
import { cut, h, setAttr, setText, onNextFrame } from './dom.js';
import { bytes, clock, dateTime, span } from './format.js';
import { jsonBlock, preview, tree, copyButton, toText } from './json.js';
import { showError } from './toast.js';
import { t } from './i18n.js';

const ROW_HEIGHT = 28;
const OVERSCAN = 12;
const INSPECT_DELAY = 120;
const CACHED_STATES = 60;
/** Changes shown at once. */
const MAX_CHANGES = 300;

/** Returns a short description of an entry. */
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
      return `${data.name} ${preview(data.arguments, 60)}`;
    case 'question_asked':
      return data.question?.prompt ?? '';
    case 'question_answered':
      return `${data.id} → ${preview(data.value, 60)}`;
    case 'question_withdrawn':
      return data.id;
    case 'todo_updated':
      return `${data.title ?? data.id}: ${t(`todo.${data.status}`)}${data.status === 'in_progress' ? ` ${data.progress}%` : ''}${data.message && data.message !== data.title ? ` · ${data.message}` : ''}`;
    case 'custom':
      return `${data.name} ${preview(data.value, 60)}`;
    case 'state_edited':
      return `${data.node}: ${preview(data.update, 60)}`;
    case 'session_forked':
      return `${data.from} #${data.seq}`;
    case 'gap':
      return t('timeline.gap', { from: data.after + 1, upto: data.upto });
    default:
      return preview(data, 80);
  }
}

const family = type => type.split('_')[0];

export class TimelineView {
  /** `on.older(upto?)` loads the previous page, or entries back to a number, and returns a promise; `on.fork(seq)`. */
  constructor(element, on) {
    this.on = on;
    this.redraw = onNextFrame(() => this.rows());
    this.state = new Map();
    this.build(element);
  }

  build(element) {
    this.filter = h('input', { type: 'search', on: { input: () => this.draw(this.model) } });
    this.olderButton = h('button', { type: 'button', class: 'quiet small', on: { click: () => this.on.older() } });
    this.slider = h('input', { type: 'range', class: 'slide', min: '0', max: '0', step: '1', on: { input: () => this.select(this.shown[Number(this.slider.value)], true) } });
    this.rowSpace = h('div', { class: 'rows' });
    this.list = h('div', { class: 'journal', role: 'listbox', tabindex: '0', id: 'journal', on: {
      scroll: this.redraw, keydown: event => this.key(event),
      click: event => {
        const row = event.target.closest('[data-at]');
        if (row) this.select(this.shown[Number(row.dataset.at)]);
      },
    } }, this.rowSpace);
    this.none = h('p', { class: 'empty' });
    this.head = h('div', { class: 'inspect-head' });
    this.body = h('div', { class: 'inspect-body', tabindex: '0', role: 'region', id: 'inspect' });
    this.box = h('div', { class: 'inspect' }, this.head, this.body);
    this.hint = h('p', { class: 'empty hint' });
    element.append(h('div', { class: 'walk' }, h('div', { class: 'walk-head' }, this.filter, this.olderButton), this.slider, this.none, this.list), this.box, this.hint);
    new ResizeObserver(this.redraw).observe(this.list);
    this.shown = [];
    this.drawn = 0;
    this.mode = 'entry';
    this.writeTexts();
  }

  /** Writes the texts in the language of the page. */
  writeTexts() {
    setAttr(this.filter, 'placeholder', t('timeline.filter'));
    setAttr(this.filter, 'aria-label', t('timeline.filter'));
    setText(this.olderButton, t('timeline.older'));
    setAttr(this.slider, 'aria-label', t('timeline.slide'));
    setAttr(this.list, 'aria-label', t('timeline.list'));
    setAttr(this.body, 'aria-label', t('timeline.inspect'));
    if (this.model) {
      this.rowSpace.replaceChildren();
      this.draw(this.model);
      this.inspect();
    }
  }

  reset(id) {
    this.id = id;
    this.state.clear();
    this.selected = undefined;
    this.mark = undefined;
    this.model = undefined;
    this.shown = [];
    this.drawn = 0;
    this.rowSpace.replaceChildren();
    this.inspect();
  }

  draw(model) {
    if (!model) return;
    this.model = model;
    const atTop = Math.floor(this.list.scrollTop / ROW_HEIGHT);
    const anchor = this.shown[atTop];
    const words = this.filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = words.length === 0 ? model.entries
      : model.entries.filter(entry => {
        const text = `${entry.seq ?? ''} ${entry.type} ${t(`event.${entry.type}`)} ${entry.task ?? ''} ${summary(entry)}`.toLowerCase();
        return words.every(word => text.includes(word));
      });
    this.olderButton.hidden = model.first <= 1;
    this.none.hidden = this.shown.length > 0;
    setText(this.none, t('timeline.none'));
    this.slider.max = String(Math.max(this.shown.length - 1, 0));
    this.slider.disabled = this.shown.length < 2;
    const atEnd = this.drawn * ROW_HEIGHT - this.list.scrollTop - this.list.clientHeight < ROW_HEIGHT * 2;
    // The list of the model grows between frames; rows are drawn for the height that is set here.
    this.drawn = this.shown.length;
    this.rowSpace.style.height = `${this.drawn * ROW_HEIGHT}px`;
    if (!this.selected && (atEnd || this.drawnModel !== model)) this.list.scrollTop = this.shown.length * ROW_HEIGHT;
    else if (anchor && this.shown[atTop] !== anchor) {
      // Entries added at the front must not move the visible ones.
      const now = this.shown.indexOf(anchor);
      if (now >= 0) this.list.scrollTop += (now - atTop) * ROW_HEIGHT;
    }
    this.drawnModel = model;
    this.rows();
  }

  /** Creates the visible rows only. */
  rows() {
    const first = Math.max(Math.floor(this.list.scrollTop / ROW_HEIGHT) - OVERSCAN, 0);
    const upto = Math.min(first + Math.ceil((this.list.clientHeight || 400) / ROW_HEIGHT) + OVERSCAN * 2, this.drawn);
    const wanted = new Map();
    for (let at = first; at < upto; at += 1) wanted.set(this.nameOf(this.shown[at]), at);
    const present = new Map();
    for (const row of [...this.rowSpace.children]) {
      if (wanted.has(row.dataset.key)) present.set(row.dataset.key, row);
      else row.remove();
    }
    let before = null;
    for (const [name, at] of wanted) {
      let row = present.get(name);
      if (!row) {
        row = this.row(this.shown[at]);
        row.dataset.key = name;
      }
      if (row !== (before ? before.nextSibling : this.rowSpace.firstChild)) this.rowSpace.insertBefore(row, before ? before.nextSibling : this.rowSpace.firstChild);
      before = row;
      row.style.transform = `translateY(${at * ROW_HEIGHT}px)`;
      setAttr(row, 'data-at', at);
      setAttr(row, 'aria-posinset', at + 1);
      setAttr(row, 'aria-setsize', this.shown.length);
      setAttr(row, 'aria-selected', String(this.shown[at] === this.selected));
      setAttr(row, 'data-mark', this.shown[at].seq !== undefined && this.shown[at].seq === this.mark ? 'a' : null);
    }
    const selected = this.selected && wanted.has(this.nameOf(this.selected)) ? `row-${this.nameOf(this.selected)}` : null;
    setAttr(this.list, 'aria-activedescendant', selected);
    const at = this.selected ? this.shown.indexOf(this.selected) : this.shown.length - 1;
    if (at >= 0 && document.activeElement !== this.slider) this.slider.value = String(at);
    setAttr(this.slider, 'aria-valuetext', this.selected ? `${this.nameOf(this.selected)} ${t(`event.${this.selected.type}`)}` : t('timeline.end'));
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
    const page = Math.max(Math.floor(this.list.clientHeight / ROW_HEIGHT) - 1, 1);
    const last = this.shown.length - 1;
    const at = this.selected ? this.shown.indexOf(this.selected) : last + (event.key === 'ArrowUp' ? 1 : 0);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: last }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    if (event.key === 'Home' && !this.olderButton.hidden) {
      this.on.older(1).then(() => this.select(this.shown[0]));
      return;
    }
    if (to < 0 && !this.olderButton.hidden) this.on.older();
    this.select(this.shown[Math.min(Math.max(to, 0), last)]);
  }

  /** Selects an entry. */
  select(entry, delayed = false) {
    if (!entry) return;
    this.selected = entry;
    const at = this.shown.indexOf(entry);
    const [top, bottom] = [at * ROW_HEIGHT, (at + 1) * ROW_HEIGHT];
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (bottom > this.list.scrollTop + this.list.clientHeight) this.list.scrollTop = bottom - this.list.clientHeight;
    this.rows();
    clearTimeout(this.inspectTimer);
    if (delayed || this.mode !== 'entry') this.inspectTimer = setTimeout(() => this.inspect(), INSPECT_DELAY);
    else this.inspect();
  }

  /** Sets the start of a comparison. */
  setMark() {
    if (this.selected?.seq === undefined) return;
    this.mark = this.selected.seq;
    this.rows();
    this.inspect();
  }

  compare() {
    if (this.selected?.seq === undefined) return;
    this.mode = 'diff';
    this.mark ??= this.before(this.selected.seq);
    this.rows();
    this.inspect();
  }

  forkHere() {
    if (this.selected?.seq !== undefined) this.on.fork(this.selected.seq);
  }

  before(seq) {
    return this.model.entries.findLast(entry => entry.seq < seq)?.seq ?? 0;
  }

  inspect() {
    const entry = this.selected;
    const request = (this.request = (this.request ?? 0) + 1);
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
    if (this.mode === 'entry' || !numbered) this.showEntry(entry, request);
    else if (this.mode === 'state') this.showState(entry, request);
    else this.showDiff(entry, request);
  }

  async showEntry(entry, request) {
    this.body.replaceChildren(jsonBlock(entry.type, entry.data));
    if (!entry.partial || entry.seq === undefined) return;
    try {
      const { entries } = await api.journal(this.id, entry.seq - 1, 1);
      if (entries[0]?.seq !== entry.seq) return;
      Object.assign(entry, { data: { ...entry.data, ...entries[0].data }, task: entries[0].task, run: entries[0].run, partial: false });
      if (request === this.request) this.body.replaceChildren(jsonBlock(entry.type, entry.data));
    } catch {
      // the event received over the socket is already shown
    }
  }

  showLoading() {
    this.body.setAttribute('aria-busy', 'true');
    if (!this.body.firstChild) this.body.append(h('p', { class: 'faint' }, t('loading')));
  }

  showResult(request, ...children) {
    if (request !== this.request) return;
    this.body.removeAttribute('aria-busy');
    this.body.replaceChildren(...children);
  }

  async stateAt(seq) {
    let known = this.state.get(seq);
    if (!known) {
      known = api.state(this.id, seq);
      this.state.set(seq, known);
      known.catch(() => this.state.delete(seq));
      if (this.state.size > CACHED_STATES) this.state.delete(this.state.keys().next().value);
    }
    return known;
  }

  async showState({ seq }, request) {
    this.showLoading();
    try {
      const { state, run_context: context, todos = [], questions = [] } = await this.stateAt(seq);
      const size = new Blob([JSON.stringify(state) ?? '']).size;
      this.showResult(request, h('div', { class: 'json-block' }, h('div', { class: 'json-head' }, h('span', {}, `${t('timeline.state_at', { seq })} · ${bytes(size)}`), copyButton(() => toText(state))), h('div', { class: 'json' }, tree(state, 2))),
        context !== undefined ? jsonBlock(t('timeline.context'), context) : '',
        todos.length > 0 ? jsonBlock(t('todos'), todos.map(todo => `${todo.title ?? todo.todo_id ?? todo.id}: ${todo.status} ${todo.progress ?? 0}%`)) : '',
        questions.length > 0 ? jsonBlock(t('questions'), questions) : '');
    } catch (error) {
      this.showResult(request, h('p', { class: 'problem', role: 'alert' }, error.message));
    }
  }

  async showDiff(entry, request) {
    const from = this.mark ?? this.before(entry.seq);
    const [fromSeq, toSeq] = [from, entry.seq];
    const input = (name, value) => h('input', { type: 'number', min: '0', max: String(this.model.last), value: String(value), 'aria-label': t(`timeline.${name}`), class: 'seq-input' });
    const [a, b] = [input('from', fromSeq), input('to', toSeq)];
    const form = h('form', { class: 'row diff-form', on: { submit: async event => {
      event.preventDefault();
      this.mark = Number(a.value);
      const wanted = Number(b.value);
      if (wanted > 0 && wanted < this.model.first) await this.on.older(wanted);
      const found = this.model.entries.find(other => other.seq === wanted);
      if (found) this.select(found);
      else notFound(this, wanted);
      this.rows();
    } } }, h('span', { class: 'faint' }, t('timeline.from')), a, h('span', { class: 'faint' }, t('timeline.to')), b, h('button', { class: 'small' }, t('timeline.compare')));
    this.showLoading();
    try {
      const { changes, cut } = await api.diff(this.id, fromSeq, toSeq);
      const now = change => ('to' in change ? change.to : change.value);
      const rows = changes.slice(0, MAX_CHANGES).map(change => h('div', { class: `change ${change.op}` },
        h('span', { class: 'op', title: t(`diff.${change.op}`) }, { add: '+', remove: '−', replace: '~' }[change.op] ?? '?'), h('span', { class: 'sr' }, t(`diff.${change.op}`)), h('span', { class: 'path mono' }, change.path || '/'),
        h('div', { class: 'values' }, change.op !== 'add' && change.from !== undefined && h('div', { class: 'old' }, tree(change.from, 0)), change.op !== 'remove' && now(change) !== undefined && h('div', { class: 'new' }, tree(now(change), 1)))));
      this.showResult(request, form, h('p', { class: 'faint' }, t('diff.count', { count: changes.length })), ...rows, changes.length > MAX_CHANGES ? h('p', { class: 'faint' }, t('more', { count: changes.length - MAX_CHANGES })) : '', cut ? h('p', { class: 'faint' }, t('diff.cut')) : '');
    } catch (error) {
      this.showResult(request, form, h('p', { class: 'problem', role: 'alert' }, error.message));
    }
  }
}

function notFound(view, seq) {
  showError(Object.assign(new Error(t('timeline.no_entry', { seq })), { status: 404 }));
  view.inspect();
}
