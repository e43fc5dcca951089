// Questions to the person as cards: approvals of tools, choices as buttons, forms from a schema, any JSON value.

import { h, setText } from './dom.js';
import { block, brief, copyButton, whole } from './json.js';
import { Misfit, field, json, named, parsed } from './fields.js';
import { schemaForm, values } from './schema.js';
import { span } from './format.js';
import { inline } from './markdown.js';
import { t } from './i18n.js';

/** Edited tool calls that were refused: when the question is shown again, editing continues from them. */
const edited = new Map();
const EDITED = 20;

/** A card for one question; `send(value)` gives a promise. */
export function questionCard(asked, send) {
  const { question } = asked;
  const problem = h('p', { class: 'problem', role: 'alert' });
  const id = `q-${asked.id}`;
  let busy = false;
  const card = h('section', { class: 'question', 'aria-labelledby': id, data: { question: asked.id } });
  const answer = async (value, form) => {
    if (busy) return;
    busy = true;
    card.classList.add('busy');
    card.setAttribute('aria-busy', 'true');
    setText(problem, '');
    try {
      await send(value);
    } catch (error) {
      refused(error, form, problem);
      toProblem(card);
    }
    busy = false;
    card.classList.remove('busy');
    card.removeAttribute('aria-busy');
  };
  const attempt = form => {
    let value;
    try {
      value = form.read();
    } catch (error) {
      if (!(error instanceof Misfit)) setText(problem, error.message);
      toProblem(card);
      return;
    }
    answer(value, form);
  };
  const prompt = h('p', { class: 'prompt', id, dir: 'auto' }, inline(String(question.prompt ?? '')));
  const until = asked.until ? h('p', { class: 'faint deadline', data: question.timer ? { until: asked.until, timer: 'yes' } : { until: asked.until } }) : null;
  const approval = question.details && typeof question.details === 'object' && question.details.call_id !== undefined && question.details.tool !== undefined;
  const waits = question.timer || isBreakpoint(asked);
  const go = () => h('div', { class: 'options' }, button(t(question.timer ? 'timer.now' : 'breakpoint.go'), () => answer('continue'), 'option primary'));
  const body = waits ? go() : approval ? approve(question.details, answer, attempt) : plain(question, answer, attempt);
  card.append(...[h('div', { class: 'question-kind' }, t(kindOf(asked, approval)), ' ', h('span', { class: 'faint mono' }, asked.task ?? '')), prompt, body, until, problem].filter(Boolean));
  card.addEventListener('input', () => setText(problem, ''));
  tick(card);
  return card;
}

/** The engine's own question in front of or behind a node. */
const isBreakpoint = asked => String(asked.id).includes(':=break:');

const kindOf = (asked, approval) => (asked.question.timer ? 'timer' : isBreakpoint(asked) ? 'breakpoint' : approval ? 'question.approval' : 'question.one');

/** Shows a refusal at the part of the form that it is about, else under the card. */
function refused(error, form, problem) {
  const found = error.code === 'invalid_answer' && form?.at && / does not fit(?: at `((?:\/[^`]*)?)`)?: ([\s\S]*)$/.exec(error.message);
  if (!found) {
    setText(problem, error.message);
    return;
  }
  const keys = (found[1] ?? '').split('/').slice(1).map(key => key.replace(/~1/g, '/').replace(/~0/g, '~'));
  form.at(keys).refuse(found[2]);
}

function toProblem(card) {
  const first = card.querySelector('[aria-invalid="true"]');
  (first?.matches('input, select, textarea') ? first : first?.querySelector('input, select, textarea'))?.focus();
}

/** Brings the time that is left up to date. */
export function tick(card) {
  const until = card.querySelector('.deadline');
  if (!until) return;
  const left = Number(until.dataset.until) - Date.now();
  const kind = until.dataset.timer ? 'timer' : 'question';
  setText(until, left > 0 ? t(`${kind}.left`, { time: span(left) }) : t(`${kind}.late`));
}

const button = (label, act, kind = '') => h('button', { type: 'button', class: kind, on: { click: act } }, label);

function plain(question, answer, attempt) {
  const parts = [];
  if (question.details !== undefined && question.details !== null) parts.push(block(t('question.details'), question.details));
  const few = question.options?.length > 0 ? question.options : question.schema && values(question.schema);
  if (few) {
    if (!question.options?.length && question.schema.description) parts.push(h('p', { class: 'faint', dir: 'auto' }, question.schema.description));
    parts.push(h('div', { class: 'options', role: 'group', 'aria-label': question.prompt },
      few.map((option, at) => button([few.length > 1 && at < 9 ? h('kbd', { 'aria-hidden': 'true' }, at + 1) : null, h('bdi', {}, typeof option === 'object' && option ? brief(option, 60) : named(option))], () => answer(option), 'option'))));
    if (question.open) parts.push(h('details', {}, h('summary', {}, t('question.other')), free(attempt)));
  } else parts.push(question.schema ? schemaPart(question.schema, attempt) : free(attempt));
  return h('div', { class: 'ways' }, parts);
}

function schemaPart(schema, attempt) {
  const form = schemaForm(schema);
  const { control } = form;
  const title = typeof schema.title === 'string' ? schema.title : undefined;
  if (control?.matches('input, select, textarea')) {
    if (!title) control.setAttribute('aria-label', t('question.answer'));
    return submitting([title && h('label', { for: control.id }, title), form.element], form, attempt);
  }
  control?.setAttribute('aria-label', title ?? t('question.answer'));
  return submitting([form.element], form, attempt);
}

function submitting(children, form, attempt, label = t('question.send')) {
  return h('form', { novalidate: true, on: { submit: event => {
    event.preventDefault();
    attempt(form);
  } } }, children, h('div', { class: 'row' }, h('button', { class: 'primary' }, label)));
}

/** A text, or any JSON value when the checkbox is set. */
function written(label, rows) {
  const area = h('textarea', { rows, dir: 'auto', 'aria-label': label, placeholder: label });
  const asJson = h('input', { type: 'checkbox' });
  const form = field(area, {}, () => {
    if (asJson.checked) return parsed(area.value);
    if (area.value.trim() === '') throw new Error(t('form.needed'));
    return area.value;
  });
  return { form, area, parts: [form.element, h('label', { class: 'check' }, asJson, t('question.as_json'))] };
}

function free(attempt) {
  const { form, area, parts } = written(t('question.answer'), 2);
  area.addEventListener('keydown', event => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
      event.preventDefault();
      area.form.requestSubmit();
    }
  });
  return submitting(parts, form, attempt);
}

function approve(call, answer, attempt) {
  const more = h('div', { class: 'decision' });
  const ways = [];
  const show = (way, made) => {
    for (const one of ways) one.setAttribute('aria-expanded', String(one === way));
    more.replaceChildren(made);
    more.querySelector('textarea, input')?.focus({ preventScroll: true });
    more.scrollIntoView({ block: 'nearest' });
  };
  const way = (key, name, make, kind = '') => {
    const one = button([h('kbd', { 'aria-hidden': 'true' }, key), t(name)], () => show(one, make()), `option ${kind}`);
    one.setAttribute('aria-expanded', 'false');
    ways.push(one);
    return one;
  };
  /** The form gives a value; the decision is made of it. */
  const decide = (parts, form, make, label) => submitting(parts, { ...form, at: () => form, read: () => make(form.read()) }, attempt, label);
  const edit = () => {
    const form = json(edited.get(call.call_id) ?? call.arguments);
    form.control.setAttribute('aria-label', t('approve.arguments'));
    return decide([form.element], form, value => {
      edited.delete(call.call_id);
      edited.set(call.call_id, value);
      if (edited.size > EDITED) edited.delete(edited.keys().next().value);
      return { decision: 'edit', arguments: value };
    }, t('approve.edited'));
  };
  const reject = () => {
    const reason = h('textarea', { rows: 2, dir: 'auto', 'aria-label': t('approve.reason'), placeholder: t('approve.reason') });
    const form = field(reason, {}, () => reason.value);
    return decide([form.element], form, value => ({ decision: 'reject', reason: value }), t('approve.reject'));
  };
  const respond = () => {
    const { form, parts } = written(t('approve.output'), 3);
    return decide(parts, form, value => ({ decision: 'respond', output: value }), t('approve.respond'));
  };
  const sticky = { same_arguments: 'approve.same_arguments', tool: 'approve.tool' }[call.sticky];
  return h('div', { class: 'approval' },
    h('div', { class: 'call-line' }, h('strong', { class: 'mono' }, call.tool), call.effect && h('span', { class: 'tag' }, typeof call.effect === 'string' ? call.effect : brief(call.effect)), copyButton(() => whole(call.arguments))),
    block(t('call.arguments'), call.arguments),
    sticky && h('p', { class: 'faint' }, t(sticky)),
    h('div', { class: 'options', role: 'group', 'aria-label': t('question.approval') },
      button([h('kbd', { 'aria-hidden': 'true' }, '1'), t('approve.approve')], () => answer({ decision: 'approve' }), 'option primary'),
      way('2', 'approve.edit', edit), way('3', 'approve.reject', reject, 'danger'), way('4', 'approve.respond', respond)),
    more);
}
