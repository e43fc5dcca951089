// Questions to the person as cards: approvals of tools, choices as buttons, forms from a schema, any JSON value.

import { h, setText } from './dom.js';
import { jsonBlock, preview, copyButton, toText } from './json.js';
import { InvalidField, field, json, valueLabel, parseJson } from './fields.js';
import { schemaForm, values } from './schema.js';
import { span } from './format.js';
import { inline } from './markdown.js';
import { t } from './i18n.js';

/** Edited tool calls that were refused: when the question is shown again, editing continues from them. */
const editedCalls = new Map();
const MAX_EDITED = 20;

/** Returns a card for one question; `send(value)` returns a promise. */
export function questionCard(pending, send) {
  const { question } = pending;
  const problem = h('p', { class: 'problem', role: 'alert' });
  const id = `q-${pending.id}`;
  let busy = false;
  const card = h('section', { class: 'question', 'aria-labelledby': id, data: { question: pending.id } });
  const answer = async (value, form) => {
    if (busy) return;
    busy = true;
    card.classList.add('busy');
    card.setAttribute('aria-busy', 'true');
    setText(problem, '');
    try {
      await send(value);
    } catch (error) {
      showRejection(error, form, problem);
      focusInvalidField(card);
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
      if (!(error instanceof InvalidField)) setText(problem, error.message);
      focusInvalidField(card);
      return;
    }
    answer(value, form);
  };
  const prompt = h('p', { class: 'prompt', id, dir: 'auto' }, inline(String(question.prompt ?? '')));
  const until = pending.until ? h('p', { class: 'faint deadline', data: question.timer ? { until: pending.until, timer: 'yes' } : { until: pending.until } }) : null;
  const approval = question.details && typeof question.details === 'object' && question.details.call_id !== undefined && question.details.tool !== undefined;
  const engineOwned = question.timer || isBreakpoint(pending);
  const continueButton = () => h('div', { class: 'options' }, button(t(question.timer ? 'timer.now' : 'breakpoint.go'), () => answer('continue'), 'option primary'));
  const body = engineOwned ? continueButton() : approval ? approvalForm(question.details, answer, attempt) : questionBody(question, answer, attempt);
  card.append(...[h('div', { class: 'question-kind' }, t(kindOf(pending, approval)), ' ', h('span', { class: 'faint mono' }, pending.task ?? '')), prompt, body, until, problem].filter(Boolean));
  card.addEventListener('input', () => setText(problem, ''));
  updateDeadline(card);
  return card;
}

/** The engine's own question in front of or behind a node. */
const isBreakpoint = pending => String(pending.id).includes(':=break:');

const kindOf = (pending, approval) => (pending.question.timer ? 'timer' : isBreakpoint(pending) ? 'breakpoint' : approval ? 'question.approval' : 'question.one');

/** Shows a refusal at the part of the form that it is about, else under the card. */
function showRejection(error, form, problem) {
  const match = error.code === 'invalid_answer' && form?.at && / does not fit(?: at `((?:\/[^`]*)?)`)?: ([\s\S]*)$/.exec(error.message);
  if (!match) {
    setText(problem, error.message);
    return;
  }
  const keys = (match[1] ?? '').split('/').slice(1).map(key => key.replace(/~1/g, '/').replace(/~0/g, '~'));
  form.at(keys).showProblem(match[2]);
}

function focusInvalidField(card) {
  const first = card.querySelector('[aria-invalid="true"]');
  (first?.matches('input, select, textarea') ? first : first?.querySelector('input, select, textarea'))?.focus();
}

/** Updates the remaining time. */
export function updateDeadline(card) {
  const until = card.querySelector('.deadline');
  if (!until) return;
  const remaining = Number(until.dataset.until) - Date.now();
  const kind = until.dataset.timer ? 'timer' : 'question';
  setText(until, remaining > 0 ? t(`${kind}.left`, { time: span(remaining) }) : t(`${kind}.late`));
}

const button = (label, onClick, kind = '') => h('button', { type: 'button', class: kind, on: { click: onClick } }, label);

function questionBody(question, answer, attempt) {
  const parts = [];
  if (question.details !== undefined && question.details !== null) parts.push(jsonBlock(t('question.details'), question.details));
  const choices = question.options?.length > 0 ? question.options : question.schema && values(question.schema);
  if (choices) {
    if (!question.options?.length && question.schema.description) parts.push(h('p', { class: 'faint', dir: 'auto' }, question.schema.description));
    parts.push(h('div', { class: 'options', role: 'group', 'aria-label': question.prompt },
      choices.map((option, at) => button([choices.length > 1 && at < 9 ? h('kbd', { 'aria-hidden': 'true' }, at + 1) : null, h('bdi', {}, typeof option === 'object' && option ? preview(option, 60) : valueLabel(option))], () => answer(option), 'option'))));
    if (question.open) parts.push(h('details', {}, h('summary', {}, t('question.other')), freeAnswer(attempt)));
  } else parts.push(question.schema ? schemaAnswer(question.schema, attempt) : freeAnswer(attempt));
  return h('div', { class: 'ways' }, parts);
}

function schemaAnswer(schema, attempt) {
  const form = schemaForm(schema);
  const { control } = form;
  const title = typeof schema.title === 'string' ? schema.title : undefined;
  if (control?.matches('input, select, textarea')) {
    if (!title) control.setAttribute('aria-label', t('question.answer'));
    return submitForm([title && h('label', { for: control.id }, title), form.element], form, attempt);
  }
  control?.setAttribute('aria-label', title ?? t('question.answer'));
  return submitForm([form.element], form, attempt);
}

function submitForm(children, form, attempt, label = t('question.send')) {
  return h('form', { novalidate: true, on: { submit: event => {
    event.preventDefault();
    attempt(form);
  } } }, children, h('div', { class: 'row' }, h('button', { class: 'primary' }, label)));
}

/** A text, or any JSON value when the checkbox is set. */
function textOrJson(label, rows) {
  const area = h('textarea', { rows, dir: 'auto', 'aria-label': label, placeholder: label });
  const asJson = h('input', { type: 'checkbox' });
  const form = field(area, {}, () => {
    if (asJson.checked) return parseJson(area.value);
    if (area.value.trim() === '') throw new Error(t('form.needed'));
    return area.value;
  });
  return { form, area, parts: [form.element, h('label', { class: 'check' }, asJson, t('question.as_json'))] };
}

function freeAnswer(attempt) {
  const { form, area, parts } = textOrJson(t('question.answer'), 2);
  area.addEventListener('keydown', event => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
      event.preventDefault();
      area.form.requestSubmit();
    }
  });
  return submitForm(parts, form, attempt);
}

function approvalForm(call, answer, attempt) {
  const more = h('div', { class: 'decision' });
  const decisions = [];
  const show = (decisionButton, made) => {
    for (const one of decisions) one.setAttribute('aria-expanded', String(one === decisionButton));
    more.replaceChildren(made);
    more.querySelector('textarea, input')?.focus({ preventScroll: true });
    more.scrollIntoView({ block: 'nearest' });
  };
  const decisionButton = (key, name, make, kind = '') => {
    const one = button([h('kbd', { 'aria-hidden': 'true' }, key), t(name)], () => show(one, make()), `option ${kind}`);
    one.setAttribute('aria-expanded', 'false');
    decisions.push(one);
    return one;
  };
  /** The form gives a value; the decision is made of it. */
  const decide = (parts, form, make, label) => submitForm(parts, { ...form, at: () => form, read: () => make(form.read()) }, attempt, label);
  const edit = () => {
    const form = json(editedCalls.get(call.call_id) ?? call.arguments);
    form.control.setAttribute('aria-label', t('approve.arguments'));
    return decide([form.element], form, value => {
      editedCalls.delete(call.call_id);
      editedCalls.set(call.call_id, value);
      if (editedCalls.size > MAX_EDITED) editedCalls.delete(editedCalls.keys().next().value);
      return { decision: 'edit', arguments: value };
    }, t('approve.edited'));
  };
  const reject = () => {
    const reason = h('textarea', { rows: 2, dir: 'auto', 'aria-label': t('approve.reason'), placeholder: t('approve.reason') });
    const form = field(reason, {}, () => reason.value);
    return decide([form.element], form, value => ({ decision: 'reject', reason: value }), t('approve.reject'));
  };
  const respond = () => {
    const { form, parts } = textOrJson(t('approve.output'), 3);
    return decide(parts, form, value => ({ decision: 'respond', output: value }), t('approve.respond'));
  };
  const sticky = { same_arguments: 'approve.same_arguments', tool: 'approve.tool' }[call.sticky];
  return h('div', { class: 'approval' },
    h('div', { class: 'call-line' }, h('strong', { class: 'mono' }, call.tool), call.effect && h('span', { class: 'tag' }, typeof call.effect === 'string' ? call.effect : preview(call.effect)), copyButton(() => toText(call.arguments))),
    jsonBlock(t('call.arguments'), call.arguments),
    sticky && h('p', { class: 'faint' }, t(sticky)),
    h('div', { class: 'options', role: 'group', 'aria-label': t('question.approval') },
      button([h('kbd', { 'aria-hidden': 'true' }, '1'), t('approve.approve')], () => answer({ decision: 'approve' }), 'option primary'),
      decisionButton('2', 'approve.edit', edit), decisionButton('3', 'approve.reject', reject, 'danger'), decisionButton('4', 'approve.respond', respond)),
    more);
}
