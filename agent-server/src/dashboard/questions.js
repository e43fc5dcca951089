// Questions to the person as cards: approvals of tools, choices as buttons, forms from a schema, any JSON value.

import { h, setText } from './dom.js';
import { block, brief, copyButton, whole } from './json.js';
import { json, schemaForm } from './schema.js';
import { span } from './format.js';
import { inline } from './markdown.js';
import { t } from './words.js';

/** A card for one question; `send(value)` gives a promise. */
export function questionCard(asked, send) {
  const { question } = asked;
  const problem = h('p', { class: 'problem', role: 'alert' });
  const id = `q-${asked.id}`;
  let busy = false;
  const card = h('section', { class: 'question', 'aria-labelledby': id, data: { question: asked.id } });
  const answer = async value => {
    if (busy) return;
    busy = true;
    card.classList.add('busy');
    card.setAttribute('aria-busy', 'true');
    setText(problem, '');
    try {
      await send(value);
    } catch (error) {
      setText(problem, error.message);
    }
    busy = false;
    card.classList.remove('busy');
    card.removeAttribute('aria-busy');
  };
  const attempt = read => {
    let value;
    try {
      value = read();
    } catch (error) {
      setText(problem, error.message);
      return;
    }
    answer(value);
  };
  const prompt = h('p', { class: 'prompt', id, dir: 'auto' }, inline(String(question.prompt ?? '')));
  const until = asked.until ? h('p', { class: 'faint deadline', data: { until: asked.until } }) : null;
  const approval = question.details && typeof question.details === 'object' && question.details.call_id !== undefined && question.details.tool !== undefined;
  const body = approval ? approve(question.details, answer, attempt) : plain(question, answer, attempt);
  card.append(...[h('div', { class: 'question-kind' }, t(approval ? 'question.approval' : 'question.one'), ' ', h('span', { class: 'faint mono' }, asked.task ?? '')), prompt, body, until, problem].filter(Boolean));
  card.addEventListener('input', () => setText(problem, ''));
  tick(card);
  return card;
}

/** Brings the time that is left up to date. */
export function tick(card) {
  const until = card.querySelector('.deadline');
  if (!until) return;
  const left = Number(until.dataset.until) - Date.now();
  setText(until, left > 0 ? t('question.left', { time: span(left) }) : t('question.late'));
}

const button = (label, act, kind = '') => h('button', { type: 'button', class: kind, on: { click: act } }, label);

function plain(question, answer, attempt) {
  const parts = [];
  if (question.details !== undefined && question.details !== null) parts.push(block(t('question.details'), question.details));
  const options = question.options ?? [];
  if (options.length > 0) {
    parts.push(h('div', { class: 'options', role: 'group', 'aria-label': question.prompt },
      options.map((option, at) => button([options.length > 1 && at < 9 ? h('kbd', { 'aria-hidden': 'true' }, at + 1) : null, typeof option === 'string' ? option : brief(option, 60)], () => answer(option), 'option'))));
    if (question.open) parts.push(h('details', {}, h('summary', {}, t('question.other')), free(question, attempt)));
  } else parts.push(question.schema ? schemaPart(question.schema, attempt) : free(question, attempt));
  return h('div', {}, parts);
}

function schemaPart(schema, attempt) {
  const form = schemaForm(schema);
  if (['INPUT', 'SELECT', 'TEXTAREA'].includes(form.element.tagName)) form.element.setAttribute('aria-label', schema.title ?? t('question.answer'));
  return submitting([form.element], () => form.read(), attempt);
}

function submitting(children, read, attempt, label = t('question.send')) {
  return h('form', { novalidate: true, on: { submit: event => {
    event.preventDefault();
    attempt(read);
  } } }, children, h('div', { class: 'row' }, h('button', { class: 'primary' }, label)));
}

/** A text, or any JSON value. */
function free(question, attempt) {
  const area = h('textarea', { rows: 2, 'aria-label': t('question.answer'), placeholder: t('question.answer') });
  const asJson = h('input', { type: 'checkbox' });
  area.addEventListener('keydown', event => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      area.form.requestSubmit();
    }
  });
  const read = () => {
    if (!asJson.checked) return area.value;
    try {
      return JSON.parse(area.value);
    } catch (error) {
      throw new Error(t('form.not_json', { reason: error.message }));
    }
  };
  return submitting([area, h('label', { class: 'check' }, asJson, t('question.as_json'))], read, attempt);
}

function approve(call, answer, attempt) {
  const more = h('div', { class: 'decision' });
  const show = (...children) => {
    more.replaceChildren(...children);
    more.querySelector('textarea, input')?.focus();
  };
  const edit = () => {
    const form = json(call.arguments);
    form.element.setAttribute('aria-label', t('approve.arguments'));
    show(submitting([form.element], () => ({ decision: 'edit', arguments: form.read() }), attempt, t('approve.edited')));
  };
  const reject = () => {
    const reason = h('textarea', { rows: 2, 'aria-label': t('approve.reason'), placeholder: t('approve.reason') });
    show(submitting([reason], () => ({ decision: 'reject', reason: reason.value }), attempt, t('approve.reject')));
  };
  const respond = () => {
    const output = h('textarea', { rows: 3, 'aria-label': t('approve.output'), placeholder: t('approve.output') });
    const asJson = h('input', { type: 'checkbox' });
    show(submitting([output, h('label', { class: 'check' }, asJson, t('question.as_json'))], () => {
      try {
        return { decision: 'respond', output: asJson.checked ? JSON.parse(output.value) : output.value };
      } catch (error) {
        throw new Error(t('form.not_json', { reason: error.message }));
      }
    }, attempt, t('approve.respond')));
  };
  const sticky = { same_arguments: 'approve.same_arguments', tool: 'approve.tool' }[call.sticky];
  return h('div', { class: 'approval' },
    h('div', { class: 'call-line' }, h('strong', { class: 'mono' }, call.tool), call.effect && h('span', { class: 'tag' }, typeof call.effect === 'string' ? call.effect : brief(call.effect)), copyButton(() => whole(call.arguments))),
    block(t('call.arguments'), call.arguments),
    sticky && h('p', { class: 'faint' }, t(sticky)),
    h('div', { class: 'options', role: 'group', 'aria-label': t('question.approval') },
      button([h('kbd', { 'aria-hidden': 'true' }, '1'), t('approve.approve')], () => answer({ decision: 'approve' }), 'option primary'),
      button([h('kbd', { 'aria-hidden': 'true' }, '2'), t('approve.edit')], edit, 'option'),
      button([h('kbd', { 'aria-hidden': 'true' }, '3'), t('approve.reject')], reject, 'option danger'),
      button([h('kbd', { 'aria-hidden': 'true' }, '4'), t('approve.respond')], respond, 'option')),
    more);
}
