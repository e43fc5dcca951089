// The fields of a form: each reads and validates its value and shows its own error.

import { h, setText } from './dom.js';
import { t } from './i18n.js';

let count = 0;

/** A field without a valid value. The problem is shown at the field already. */
export class InvalidField extends Error {}

/** Bounds of a schema in words, for the line under a field. */
function bounds(schema) {
  const range = (least, most, key) => {
    if (least === undefined && most === undefined) return undefined;
    const words = least === most ? String(least) : least === undefined ? `≤ ${most}` : most === undefined ? `≥ ${least}` : `${least} – ${most}`;
    return key ? t(key, { range: words }) : words;
  };
  const least = schema.minLength > 0 ? schema.minLength : undefined;
  return [
    range(schema.minimum, schema.maximum), schema.exclusiveMinimum !== undefined && `> ${schema.exclusiveMinimum}`, schema.exclusiveMaximum !== undefined && `< ${schema.exclusiveMaximum}`,
    schema.multipleOf !== undefined && t('form.multiple', { of: schema.multipleOf }), range(least, schema.maxLength, 'form.characters'),
    range(schema.minItems > 0 ? schema.minItems : undefined, schema.maxItems, 'form.entries'),
  ].filter(Boolean).join(' · ');
}

/** A field of a form: `read()` gives the value or throws, `showProblem(text)` shows what is wrong at it. */
export function field(control, schema, read, more = {}) {
  const id = `field-${(count += 1)}`;
  const description = [schema.description, bounds(schema)].filter(Boolean).join(' · ');
  const hint = description ? h('small', { class: 'hint-line', id: `${id}-hint`, dir: 'auto' }, description) : null;
  const problem = h('small', { class: 'problem', id: `${id}-problem` });
  const invalidMarked = more.invalidMarked ?? control;
  if (!control.id) control.id = id;
  invalidMarked.setAttribute('aria-describedby', `${hint ? `${id}-hint ` : ''}${id}-problem`);
  const clear = () => {
    invalidMarked.removeAttribute('aria-invalid');
    setText(problem, '');
  };
  const form = {
    ...more, control: more.nested ? undefined : control, element: h('div', { class: more.nested ? 'nest' : 'leaf' }, more.nested ? hint : null, control, more.nested ? null : hint, problem),
    at: more.at ?? (() => form),
    showProblem: words => {
      invalidMarked.setAttribute('aria-invalid', 'true');
      setText(problem, words);
    },
    read: () => {
      clear();
      try {
        return read();
      } catch (error) {
        if (error instanceof InvalidField) throw error;
        form.showProblem(error.message);
        throw new InvalidField(error.message);
      }
    },
  };
  form.element.addEventListener('input', clear);
  return form;
}

const fail = (key, fields) => {
  throw new Error(t(key, fields));
};

/** How many entries a list may have. */
export function checkLength(schema, entries) {
  if (entries.length < (schema.minItems ?? 0)) fail('form.few', { least: schema.minItems });
  if (entries.length > (schema.maxItems ?? Infinity)) fail('form.many', { most: schema.maxItems });
  if (schema.uniqueItems && new Set(entries.map(entry => JSON.stringify(entry))).size < entries.length) fail('form.unique');
  return entries;
}

/** A value as a person reads it. */
export const valueLabel = value => (value === true ? t('yes') : value === false ? t('no') : typeof value === 'string' ? value : JSON.stringify(value));

/** One of some values. Nothing is chosen for the person, unless the schema does. */
export function choice(values, schema, first, optional) {
  const at = values.findIndex(value => JSON.stringify(value) === JSON.stringify(first));
  const select = h('select', {}, h('option', { value: '' }, optional ? '—' : t('form.choose')), values.map((value, index) => h('option', { value: String(index) }, valueLabel(value))));
  select.selectedIndex = at + 1;
  return field(select, schema, () => (select.selectedIndex === 0 ? fail('form.choose_one') : values[select.selectedIndex - 1]), { empty: () => select.selectedIndex === 0 });
}

/** Some of some values. */
export function checkboxes(values, schema, first) {
  const boxes = values.map(value => {
    const box = h('input', { type: 'checkbox' });
    box.checked = Array.isArray(first) && first.some(one => JSON.stringify(one) === JSON.stringify(value));
    return box;
  });
  const group = h('div', { class: 'ticks', role: 'group' }, values.map((value, at) => h('label', { class: 'check' }, boxes[at], h('bdi', {}, valueLabel(value)))));
  return field(group, schema, () => checkLength(schema, values.filter((value, at) => boxes[at].checked)), { empty: () => !boxes.some(box => box.checked) });
}

const KINDS = { date: 'date', time: 'time', email: 'email', uri: 'url', password: 'password' };

export function text(schema, first, nullable) {
  const long = (schema.maxLength ?? 0) > 200 || schema.format === 'textarea' || String(first ?? '').length > 80;
  const input = long ? h('textarea', { rows: 3, dir: 'auto' }) : h('input', { type: KINDS[schema.format] ?? 'text', dir: 'auto', autocomplete: 'off', placeholder: schema.format === 'date-time' ? '2026-01-31T09:00:00Z' : undefined });
  if (first !== undefined && first !== null) input.value = String(first);
  // A text is required unless its schema allows the empty text.
  const blank = schema.minLength === 0 || schema.default === '';
  return field(input, schema, () => {
    const { value } = input;
    if (value === '' && !input.validity.badInput) {
      if (nullable) return null;
      if (!blank) fail('form.needed');
    }
    // A schema counts characters, `maxlength` would count halves of some.
    const length = [...value].length;
    if (length < (schema.minLength ?? 0)) fail('form.short', { least: schema.minLength });
    if (length > (schema.maxLength ?? Infinity)) fail('form.long', { most: schema.maxLength });
    if (!input.validity.valid) fail(`form.${input.type}`);
    if (schema.pattern) {
      let pattern;
      try {
        pattern = new RegExp(schema.pattern, 'u');
      } catch {
        return value; // left to the server
      }
      if (!pattern.test(value)) fail('form.pattern', { pattern: schema.pattern });
    }
    return value;
  }, { empty: () => input.value === '' && !input.validity.badInput });
}

export function number(schema, type, first, nullable) {
  const input = h('input', { type: 'number', step: 'any', min: schema.minimum, max: schema.maximum, inputmode: type === 'integer' ? 'numeric' : 'decimal' });
  if (first !== undefined && first !== null) input.value = String(first);
  const empty = () => input.value === '' && !input.validity.badInput;
  return field(input, schema, () => {
    if (empty() && nullable) return null;
    if (input.value === '') fail('form.number');
    const value = Number(input.value);
    if (type === 'integer' && !Number.isInteger(value)) fail('form.integer');
    if (value < (schema.minimum ?? -Infinity)) fail('form.least', { least: schema.minimum });
    if (value > (schema.maximum ?? Infinity)) fail('form.most', { most: schema.maximum });
    return value;
  }, { empty });
}

/** A list of texts or numbers, one on each line. */
export function lines(type, schema, first) {
  const area = h('textarea', { rows: 3, dir: 'auto', placeholder: t('form.lines') });
  if (Array.isArray(first)) area.value = first.join('\n');
  return field(area, schema, () => checkLength(schema, area.value.split('\n').filter(line => line.trim() !== '').map(line => {
    if (type === 'string') return line;
    const value = Number(line);
    return Number.isNaN(value) ? fail('form.not_number', { text: line }) : value;
  })), { empty: () => area.value.trim() === '' });
}

/** Any JSON. */
export function json(first, schema = {}) {
  const area = h('textarea', { class: 'mono', rows: 4, spellcheck: 'false', placeholder: schema.type === 'array' ? '[ ]' : '{ }' });
  if (first !== undefined) area.value = JSON.stringify(first, null, 2);
  area.rows = Math.min(Math.max(area.value.split('\n').length, 3), 16);
  const empty = () => area.value.trim() === '';
  return field(area, schema, () => (empty() ? fail('form.needed') : parseJson(area.value)), { empty });
}

/** The value of a text that must be JSON. */
export function parseJson(words) {
  try {
    return JSON.parse(words);
  } catch (error) {
    return fail('form.not_json', { reason: error.message });
  }
}
