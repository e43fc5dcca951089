// The conversation: messages, work in progress, open questions and answers.

import { cut, h, keyed, setAttr, setText } from './dom.js';
import { clock, dateTime, short, span } from './format.js';
import { jsonBlock, preview, copyButton } from './json.js';
import { inline, render } from './markdown.js';
import { questionCard, updateDeadline } from './questions.js';
import { isActive } from './session_model.js';
import { t } from './i18n.js';

const TURN_PAGE = 12;
const ITEM_PAGE = 60;
/** Longer texts are shown without formatting. */
const MAX_MARKDOWN = 100_000;

export class ChatView {
  /** `on.answer(id, value)` gives a promise; `on.older()` asks for what came before. */
  constructor(element, on) {
    this.element = element;
    this.on = on;
    this.turns = h('ol', { class: 'turns' });
    this.earlierButton = h('button', { type: 'button', class: 'quiet', on: { click: () => {
      this.limit += TURN_PAGE;
      this.on.draw();
    } } });
    this.open = h('div', { class: 'questions', id: 'questions' });
    element.append(this.earlierButton, this.turns, this.open);
    this.reset();
  }

  reset() {
    this.limit = TURN_PAGE;
    this.items = new Map();
    this.turns.replaceChildren();
    this.open.replaceChildren();
  }

  draw(model, pending) {
    const box = this.element.parentElement;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 90;
    this.now = Date.now();
    const runs = [...model.runs.values()].sort((a, b) => a.id - b.id);
    if (pending) runs.push({ id: 'pending', items: [], status: 'started', pending });
    const shown = runs.slice(-this.limit);
    const hidden = runs.length - shown.length;
    this.earlierButton.hidden = hidden === 0;
    setText(this.earlierButton, t('chat.earlier', { count: hidden }));
    keyed(this.turns, shown, run => run.id, run => this.createTurn(run), (element, run) => this.updateTurn(element, run, model));
    const inside = this.open.contains(document.activeElement);
    keyed(this.open, [...model.questions.values()], asked => `${asked.id}${asked.question.details === undefined ? '' : '+'}`, asked => questionCard(asked, value => this.on.answer(asked.id, value)), updateDeadline);
    // Removing a card would drop the focus; keep it here so that keyboard shortcuts still work.
    if (inside && !this.open.contains(document.activeElement)) box.focus({ preventScroll: true });
    if (atEnd) this.toEnd(box);
    return shown;
  }

  /** Scrolls to new content; for an answer longer than the window, to its beginning. */
  toEnd(box) {
    const answer = this.turns.lastElementChild?.parts?.answer;
    box.scrollTop = box.scrollHeight;
    if (!answer || answer.hidden || answer.offsetHeight < box.clientHeight - 40) return;
    box.scrollTop += answer.getBoundingClientRect().top - box.getBoundingClientRect().top - 90;
  }

  createTurn() {
    const parts = {
      message: h('div', { class: 'bubble', dir: 'auto' }),
      earlier: h('button', { type: 'button', class: 'quiet small' }),
      items: h('div', { class: 'items' }),
      answer: h('div', { class: 'answer' }),
      answerText: h('div', { class: 'prose', dir: 'auto' }),
      foot: h('div', { class: 'turn-foot' }),
      state: h('span', { class: 'turn-state' }),
      failure: h('div', { class: 'failure' }),
    };
    parts.answer.append(parts.answerText);
    parts.foot.append(parts.state, copyButton(() => parts.text ?? ''));
    const element = h('li', { class: 'turn' }, parts.message, parts.earlier, parts.items, parts.failure, parts.answer, parts.foot);
    element.parts = parts;
    parts.limit = ITEM_PAGE;
    parts.earlier.addEventListener('click', () => {
      parts.limit += ITEM_PAGE * 4;
      this.on.draw();
    });
    return element;
  }

  updateTurn(element, run, model) {
    const { parts } = element;
    const exchange = model.exchanges.get(run.id) ?? {};
    const message = run.pending ?? exchange.message;
    parts.message.hidden = !message;
    setText(parts.message, message ?? '');
    const answer = run.status === 'completed' ? exchange.answer : undefined;
    let items = run.items.filter(item => item.kind !== 'text' || item.text || item.reasoning || item.voided);
    if (answer) {
      const last = items.findLast(item => item.kind === 'text');
      if (last && last.text.trim() === answer.trim()) items = items.filter(item => item !== last);
    }
    const hidden = Math.max(items.length - parts.limit, 0);
    parts.earlier.hidden = hidden === 0;
    setText(parts.earlier, t('chat.earlier_items', { count: hidden }));
    keyed(parts.items, hidden ? items.slice(-parts.limit) : items, item => item.key, item => create(item), update);
    parts.failure.hidden = run.status !== 'failed' || !run.failure;
    if (run.failure) setText(parts.failure, `${t('status.failed')}: ${run.failure.message ?? run.failure.code}${run.failure.node ? ` (${run.failure.node})` : ''}`);
    parts.answer.hidden = !answer;
    if (answer && parts.text !== answer) {
      parts.text = answer;
      if (answer.length < MAX_MARKDOWN) render(parts.answerText, answer);
      else setText(parts.answerText, answer);
    }
    parts.foot.lastChild.hidden = !answer;
    setAttr(parts.foot, 'data-status', run.status);
    setText(parts.state, this.state(run, model));
    if (run.started) parts.foot.title = dateTime(run.started);
  }

  state(run, model) {
    const progress = run.progress && isActive(run.status) ? ` · ${run.progress.name} ${preview(run.progress.value, 40)}` : '';
    if (run.pending) return t('chat.sending');
    if (run.rolledBack) return t('chat.undone');
    if (run.status === 'completed') return [t('status.completed'), run.activeMs !== undefined && span(run.activeMs), run.ended && clock(run.ended)].filter(Boolean).join(' · ');
    if (isActive(run.status) && run.id === model.run) {
      const busy = [...model.nodes.values()].filter(node => node.running.size > 0);
      const deepest = busy.filter(node => !busy.some(other => other.path.startsWith(`${node.path}/`)));
      const names = deepest.map(node => (node.running.size > 1 ? `${node.path} ×${node.running.size}` : node.path));
      return `${t(`status.${run.status === 'queued' ? 'queued' : 'running'}`)}${names.length ? ` · ${cut(names.join(', '), 80)}` : ''}${progress}`;
    }
    return t(`status.${run.status}`);
  }
}

function create(item) {
  switch (item.kind) {
    case 'text': {
      const element = h('div', { class: 'said' });
      element.reasoning = h('details', { class: 'reasoning' }, h('summary', {}, t('chat.reasoning')), h('div', { class: 'plain', dir: 'auto' }));
      element.text = h('div', { class: 'plain', dir: 'auto' });
      element.append(element.reasoning, element.text);
      return element;
    }
    case 'call':
      return callElement(item);
    case 'question':
      return h('div', { class: 'asked' }, h('bdi'), ' → ', h('bdi'));
    default:
      return h('div', { class: 'fault' });
  }
}

function update(element, item) {
  if (item.kind === 'text') {
    element.reasoning.hidden = !item.reasoning;
    if (item.reasoning) setText(element.reasoning.lastChild, item.reasoning);
    element.classList.toggle('live', Boolean(item.streaming));
    if (element.shown === item.text && element.done === !item.streaming) return;
    appendText(element.text, element.shown ?? '', item.text, !item.streaming);
    element.shown = item.text;
    element.done = !item.streaming;
    setAttr(element, 'data-holes', item.hasGaps ? t('chat.holes') : null);
  } else if (item.kind === 'call') updateCall(element, item);
  else if (item.kind === 'question') {
    element.hidden = !item.answered && !item.withdrawn;
    // Each in its own direction: what turns the one around leaves the other alone.
    const prompt = item.prompt ?? t('question.one');
    if (element.prompt !== prompt) element.firstChild.replaceChildren(...inline(String((element.prompt = prompt))));
    setText(element.lastChild, item.answered ? decisionText(item.value) : t('question.withdrawn'));
    if (item.by) element.title = t('question.by', { by: item.by });
  } else {
    const wait = item.retry_in_ms !== undefined ? ` · ${t('chat.retry', { time: span(item.retry_in_ms) })}` : '';
    setText(element, `${item.node} · ${t('chat.attempt', { number: item.attempt })}: ${item.message}${wait}`);
  }
}

const DECISIONS = { approve: 'approve.approve', edit: 'approve.edit', reject: 'approve.reject', respond: 'approve.respond' };

/** A decision about a call in words, any other answer as it is. */
function decisionText(value) {
  if (!Object.hasOwn(DECISIONS, value?.decision)) return preview(value, 200) || JSON.stringify(value) || '';
  const { decision, ...rest } = value;
  const more = Object.values(rest).filter(part => part !== '');
  return `${t(DECISIONS[decision])}${more.length ? `: ${preview(more[0], 160)}` : ''}`;
}

/** Appends the new part of a text. A complete text is formatted. */
function appendText(element, before, text, done) {
  if (done && text.length < MAX_MARKDOWN) {
    element.className = 'prose';
    render(element, text);
    return;
  }
  element.className = 'plain';
  if (text.startsWith(before) && element.lastChild?.nodeType === Node.TEXT_NODE) element.lastChild.appendData(text.slice(before.length));
  else element.replaceChildren(document.createTextNode(text));
}

/** A call: closed, one line; open, its arguments and result. */
export function callElement(call) {
  const element = h('details', { class: 'call' });
  const parts = (element.parts = {
    mark: h('span', { class: 'call-mark', 'aria-hidden': 'true' }), name: h('strong', { class: 'mono' }), peek: h('span', { class: 'call-peek' }),
    state: h('span', { class: 'sr' }), time: h('span', { class: 'call-time' }), body: h('div', { class: 'call-body' }),
  });
  element.append(h('summary', {}, parts.mark, parts.name, parts.peek, parts.state, parts.time), parts.body);
  element.addEventListener('toggle', () => {
    if (!element.open) return;
    parts.drawnStamp = undefined;
    drawBody(element, element.call);
  });
  updateCall(element, call);
  return element;
}

export function updateCall(element, call) {
  const { parts } = element;
  element.call = call;
  setAttr(element, 'data-state', call.state);
  setText(parts.mark, { running: '●', done: '✓', failed: '✕', cut: '■' }[call.state] ?? '○');
  setText(parts.name, call.name ?? '');
  setText(parts.peek, call.type === 'tool' ? preview(call.arguments, 90) : call.type === 'model' ? preview(modelText(call.result), 90) : '');
  setText(parts.state, t(`call.${call.state}`));
  setText(parts.time, call.ms === undefined ? '' : [tokensOf(call), span(call.ms)].filter(Boolean).join(' · '));
  if (element.open) drawBody(element, call);
}

/** Tokens of a model call, and how many of them the provider read from its cache. */
function tokensOf(call) {
  const usage = call.type === 'model' && (call.result?.usage ?? call.result?.reply?.usage);
  if (!usage) return '';
  const cached = usage.cached_tokens > 0 ? ` (${t('call.cached', { count: short(usage.cached_tokens) })})` : '';
  return `${short(usage.input_tokens)}${cached} → ${short(usage.output_tokens)}`;
}

function modelText(value) {
  const message = value?.message ?? value?.reply?.message;
  if (!message) return '';
  if (typeof message.content === 'string' && message.content) return message.content;
  return (message.tool_calls ?? []).map(call => `${call.name}(${call.arguments})`).join(', ');
}

function drawBody(element, call) {
  const { parts } = element;
  const stamp = `${call.state}|${call.seq ?? ''}`;
  if (parts.drawnStamp === stamp) return;
  parts.drawnStamp = stamp;
  const fields = [];
  if (call.arguments !== undefined) fields.push(jsonBlock(t('call.arguments'), call.arguments));
  if (call.error) fields.push(h('p', { class: 'problem' }, call.error));
  if (call.fault) fields.push(h('p', { class: 'problem' }, t('call.fault', { fault: preview(call.fault) })));
  if (call.result !== undefined && call.result !== null) fields.push(jsonBlock(t('call.result'), parse(call.result)));
  if (call.type !== 'tool' && call.result === undefined && !call.error) fields.push(h('p', { class: 'faint' }, t('call.no_value')));
  parts.body.replaceChildren(h('p', { class: 'faint mono' }, [call.task, call.seq && `#${call.seq}`, call.at && clock(call.at)].filter(Boolean).join(' · ')), ...fields);
}

/** A result that is JSON in a text is shown as JSON. */
function parse(result) {
  if (typeof result !== 'string' || !/^\s*[[{]/.test(result) || result.length > 500_000) return result;
  try {
    return JSON.parse(result);
  } catch {
    return result;
  }
}

/** Every recorded call, newest first. */
export class CallsView {
  constructor(element, draw) {
    this.element = element;
    this.kinds = h('div', { class: 'chips', role: 'group', 'aria-label': t('calls.kinds') });
    this.list = h('div', { class: 'items' });
    this.none = h('p', { class: 'empty' });
    this.more = h('button', { type: 'button', class: 'quiet', on: { click: () => {
      this.limit += ITEM_PAGE;
      draw();
    } } });
    this.kind = 'all';
    this.chips = ['all', 'tool', 'model', 'step'].map(kind => h('button', { type: 'button', class: 'chip', data: { kind }, on: { click: () => {
      this.kind = kind;
      draw();
    } } }));
    this.kinds.append(...this.chips);
    element.append(this.kinds, this.none, this.list, this.more);
    this.reset();
  }

  reset() {
    this.limit = ITEM_PAGE;
    this.list.replaceChildren();
  }

  draw(model) {
    const all = [...model.calls].reverse().map(([key, call]) => ({ key, call }));
    for (const chip of this.chips) {
      const { kind } = chip.dataset;
      const count = kind === 'all' ? all.length : all.filter(({ call }) => call.type === kind).length;
      setText(chip, `${t(`calls.${kind}`)} ${count}`);
      setAttr(chip, 'aria-pressed', String(kind === this.kind));
    }
    setAttr(this.kinds, 'aria-label', t('calls.kinds'));
    const wanted = this.kind === 'all' ? all : all.filter(({ call }) => call.type === this.kind);
    keyed(this.list, wanted.slice(0, this.limit), one => one.key, one => callElement(one.call), (element, one) => updateCall(element, one.call));
    this.none.hidden = wanted.length > 0;
    setText(this.none, t('calls.none'));
    this.more.hidden = wanted.length <= this.limit;
    setText(this.more, t('more', { count: wanted.length - this.limit }));
  }
}
