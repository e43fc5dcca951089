// The fields of a form: each reads and validates its value and shows its own error.

import { h, setText } from './dom.js';
import { t } from './i18n.js';

let count = 0;

/** What a form cannot give a value for. It is shown at its field already. */
export class Misfit extends Error {}

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

/** A field of a form: `read()` gives the value or throws, `refuse(words)` shows what is wrong at it. */
export function field(control, schema, read, more = {}) {
  const id = `field-${(count += 1)}`;
  const said = [schema.description, bounds(schema)].filter(Boolean).join(' · ');
  const hint = said ? h('small', { class: 'hint-line', id: `${id}-hint`, dir: 'auto' }, said) : null;
  const problem = h('small', { class: 'problem', id: `${id}-problem` });
  const marked = more.marked ?? control;
  if (!control.id) control.id = id;
  marked.setAttribute('aria-describedby', `${hint ? `${id}-hint ` : ''}${id}-problem`);
  const clear = () => {
    marked.removeAttribute('aria-invalid');
    setText(problem, '');
  };
  const form = {
    ...more, control: more.nested ? undefined : control, element: h('div', { class: more.nested ? 'nest' : 'leaf' }, more.nested ? hint : null, control, more.nested ? null : hint, problem),
    at: more.at ?? (() => form),
    refuse: words => {
      marked.setAttribute('aria-invalid', 'true');
      setText(problem, words);
    },
    read: () => {
      clear();
      try {
        return read();
      } catch (error) {
        if (error instanceof Misfit) throw error;
        form.refuse(error.message);
        throw new Misfit(error.message);
      }
    },
  };
  form.element.addEventListener('input', clear);
  return form;
}

const fault = (key, fields) => {
  throw new Error(t(key, fields));
};

/** How many entries a list may have. */
export function counted(schema, entries) {
  if (entries.length < (schema.minItems ?? 0)) fault('form.few', { least: schema.minItems });
  if (entries.length > (schema.maxItems ?? Infinity)) fault('form.many', { most: schema.maxItems });
  if (schema.uniqueItems && new Set(entries.map(entry => JSON.stringify(entry))).size < entries.length) fault('form.unique');
  return entries;
}

/** A value as a person reads it. */
export const named = value => (value === true ? t('yes') : value === false ? t('no') : typeof value === 'string' ? value : JSON.stringify(value));

/** One of some values. Nothing is chosen for the person, unless the schema does. */
export function choice(values, schema, first, optional) {
  const at = values.findIndex(value => JSON.stringify(value) === JSON.stringify(first));
  const select = h('select', {}, h('option', { value: '' }, optional ? '—' : t('form.choose')), values.map((value, index) => h('option', { value: String(index) }, named(value))));
  select.selectedIndex = at + 1;
  return field(select, schema, () => (select.selectedIndex === 0 ? fault('form.choose_one') : values[select.selectedIndex - 1]), { empty: () => select.selectedIndex === 0 });
}

/** Some of some values. */
export function ticks(values, schema, first) {
  const boxes = values.map(value => {
    const box = h('input', { type: 'checkbox' });
    box.checked = Array.isArray(first) && first.some(one => JSON.stringify(one) === JSON.stringify(value));
    return box;
  });
  const group = h('div', { class: 'ticks', role: 'group' }, values.map((value, at) => h('label', { class: 'check' }, boxes[at], h('bdi', {}, named(value)))));
  return field(group, schema, () => counted(schema, values.filter((value, at) => boxes[at].checked)), { empty: () => !boxes.some(box => box.checked) });
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
      if (!blank) fault('form.needed');
    }
    // A schema counts characters, `maxlength` would count halves of some.
    const length = [...value].length;
    if (length < (schema.minLength ?? 0)) fault('form.short', { least: schema.minLength });
    if (length > (schema.maxLength ?? Infinity)) fault('form.long', { most: schema.maxLength });
    if (!input.validity.valid) fault(`form.${input.type}`);
    if (schema.pattern) {
      let pattern;
      try {
        pattern = new RegExp(schema.pattern, 'u');
      } catch {
        return value; // left to the server
      }
      if (!pattern.test(value)) fault('form.pattern', { pattern: schema.pattern });
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
    if (input.value === '') fault('form.number');
    const value = Number(input.value);
    if (type === 'integer' && !Number.isInteger(value)) fault('form.integer');
    if (value < (schema.minimum ?? -Infinity)) fault('form.least', { least: schema.minimum });
    if (value > (schema.maximum ?? Infinity)) fault('form.most', { most: schema.maximum });
    return value;
  }, { empty });
}

/** A list of texts or numbers, one on each line. */
export function lines(type, schema, first) {
  const area = h('textarea', { rows: 3, dir: 'auto', placeholder: t('form.lines') });
  if (Array.isArray(first)) area.value = first.join('\n');
  return field(area, schema, () => counted(schema, area.value.split('\n').filter(line => line.trim() !== '').map(line => {
    if (type === 'string') return line;
    const value = Number(line);
    return Number.isNaN(value) ? fault('form.not_number', { text: line }) : value;
  })), { empty: () => area.value.trim() === '' });
}

/** Any JSON. */
export function json(first, schema = {}) {
  const area = h('textarea', { class: 'mono', rows: 4, spellcheck: 'false', placeholder: schema.type === 'array' ? '[ ]' : '{ }' });
  if (first !== undefined) area.value = JSON.stringify(first, null, 2);
  area.rows = Math.min(Math.max(area.value.split('\n').length, 3), 16);
  const empty = () => area.value.trim() === '';
  return field(area, schema, () => (empty() ? fault('form.needed') : parsed(area.value)), { empty });
}

/** The value of a text that must be JSON. */
export function parsed(words) {
  try {
    return JSON.parse(words);
  } catch (error) {
    return fault('form.not_json', { reason: error.message });
  }
}
