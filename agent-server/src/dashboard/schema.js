// A form for a JSON Schema: fields where the schema is plain, JSON text where it is not.

import { h } from './dom.js';
import { t } from './words.js';

const DEEP = 5;
let count = 0;

/** `{element, read()}`; `read` gives the value or throws an `Error` in words. */
export function schemaForm(schema, root = schema, depth = 0, start = undefined, optional = false) {
  schema = resolve(schema, root);
  const type = kind(schema);
  const first = start ?? schema.default;
  if (schema.const !== undefined) return { element: h('span', { class: 'mono' }, JSON.stringify(schema.const)), read: () => schema.const };
  if (Array.isArray(schema.enum)) return choice(schema.enum, first, optional);
  const variants = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(variants) && variants.length > 0 && variants.length <= 20 && depth < DEEP) return oneOf(variants, root, depth);
  if (type === 'object' && schema.properties && depth < DEEP) return object(schema, root, depth, first);
  if (type === 'boolean') return choice([true, false], first, optional);
  if (type === 'string') return text(schema, first);
  if (type === 'integer' || type === 'number') return number(schema, type, first);
  if (type === 'null') return { element: h('span', { class: 'mono' }, 'null'), read: () => null };
  if (type === 'array' && ['string', 'number', 'integer'].includes(kind(resolve(schema.items ?? {}, root)))) return lines(kind(resolve(schema.items, root)), first);
  return json(first);
}

function resolve(schema, root) {
  for (let hops = 0; hops < 16 && typeof schema?.$ref === 'string'; hops += 1) {
    const { $ref, ...beside } = schema;
    if (!$ref.startsWith('#')) return {};
    let at = root;
    for (const part of $ref.slice(1).split('/').filter(Boolean)) at = at?.[decodeURIComponent(part).replace(/~1/g, '/').replace(/~0/g, '~')];
    schema = { ...(at ?? {}), ...beside };
  }
  return schema && typeof schema === 'object' ? schema : {};
}

function kind(schema) {
  const types = [schema.type].flat().filter(type => type !== 'null' || schema.type === 'null');
  return types.length === 1 ? types[0] : schema.properties && types.length === 0 ? 'object' : undefined;
}

function choice(values, first, optional) {
  const labels = { true: t('yes'), false: t('no') };
  const select = h('select', {}, values.map((value, at) => h('option', { value: String(at) }, typeof value === 'boolean' ? labels[value] : typeof value === 'string' ? value : JSON.stringify(value))));
  const at = values.findIndex(value => JSON.stringify(value) === JSON.stringify(first));
  if (optional) select.prepend(h('option', { value: '' }, '—'));
  const none = optional ? 1 : 0;
  select.selectedIndex = Math.max(at + none, 0);
  return { element: select, empty: optional ? () => select.selectedIndex === 0 : undefined, read: () => values[select.selectedIndex - none] };
}

function text(schema, first) {
  const long = (schema.maxLength ?? 0) > 200 || schema.format === 'textarea' || String(first ?? '').length > 80;
  const types = { date: 'date', email: 'email', uri: 'url', time: 'time' };
  const input = long ? h('textarea', { rows: 3 }) : h('input', { type: types[schema.format] ?? 'text' });
  if (first !== undefined && first !== null) input.value = String(first);
  return { element: input, empty: () => input.value === '', read: () => {
    // A schema counts characters, `maxlength` would count halves of some.
    const length = [...input.value].length;
    if (length < (schema.minLength ?? 0)) throw new Error(t('form.short', { least: schema.minLength }));
    if (length > (schema.maxLength ?? Infinity)) throw new Error(t('form.long', { most: schema.maxLength }));
    if (!input.checkValidity()) throw new Error(input.validationMessage);
    if (schema.pattern) {
      let pattern;
      try {
        pattern = new RegExp(schema.pattern, 'u');
      } catch {
        return input.value; // the server knows better
      }
      if (!pattern.test(input.value)) throw new Error(t('form.pattern', { pattern: schema.pattern }));
    }
    return input.value;
  } };
}

function number(schema, type, first) {
  const input = h('input', { type: 'number', step: type === 'integer' ? '1' : 'any', min: schema.minimum, max: schema.maximum });
  if (first !== undefined && first !== null) input.value = String(first);
  return { element: input, empty: () => input.value === '' && !input.validity.badInput, read: () => {
    if (input.value === '' || !input.checkValidity()) throw new Error(input.value === '' ? t('form.number') : input.validationMessage);
    return Number(input.value);
  } };
}

function lines(type, first) {
  const area = h('textarea', { rows: 3, placeholder: t('form.lines') });
  if (Array.isArray(first)) area.value = first.join('\n');
  return { element: area, empty: () => area.value.trim() === '', read: () => area.value.split('\n').filter(line => line.trim() !== '').map(line => {
    if (type === 'string') return line;
    const value = Number(line);
    if (Number.isNaN(value)) throw new Error(t('form.not_number', { text: line }));
    return value;
  }) };
}

/** Any JSON. */
export function json(first) {
  const area = h('textarea', { class: 'mono', rows: 4, spellcheck: 'false', placeholder: '{ }' });
  if (first !== undefined) area.value = JSON.stringify(first, null, 2);
  area.rows = Math.min(Math.max(area.value.split('\n').length, 3), 16);
  return { element: area, empty: () => area.value.trim() === '', read: () => {
    try {
      return JSON.parse(area.value);
    } catch (error) {
      throw new Error(t('form.not_json', { reason: error.message }));
    }
  } };
}

function object(schema, root, depth, first) {
  const must = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties).slice(0, 60).map(([name, property]) => {
    const resolved = resolve(property, root);
    const form = schemaForm(property, root, depth + 1, first?.[name], !must.has(name));
    const id = `field-${(count += 1)}`;
    const control = form.element;
    const nested = !['INPUT', 'SELECT', 'TEXTAREA'].includes(control.tagName);
    const hint = resolved.description && h('small', { id: `${id}-hint` }, resolved.description);
    if (!nested) {
      control.id = id;
      if (must.has(name)) control.setAttribute('aria-required', 'true');
      if (hint) control.setAttribute('aria-describedby', `${id}-hint`);
    }
    const optional = !must.has(name);
    const label = [resolved.title ?? name, optional ? h('span', { class: 'faint' }, ` ${t('form.optional')}`) : null];
    // A choice that need not be made has a way not to be made.
    let left = () => form.empty?.() ?? false;
    let extra = null;
    if (optional && !form.empty && resolved.const === undefined) {
      const tick = h('input', { type: 'checkbox', 'aria-label': t('form.give', { name: resolved.title ?? name }) });
      tick.checked = first?.[name] !== undefined || resolved.default !== undefined;
      left = () => !tick.checked;
      extra = tick;
    }
    const element = nested ? h('fieldset', { class: 'nested' }, h('legend', {}, extra, label), hint, control) : h('div', { class: 'field' }, h('label', { for: id }, label), h('div', { class: 'field-in' }, extra, control), hint);
    if (nested && extra) {
      // What is not given cannot be filled in; the tick in the legend stays.
      const follow = () => (element.disabled = !extra.checked);
      extra.addEventListener('change', follow);
      follow();
    }
    return { name, optional, element, read: () => {
      if (optional && left()) return undefined;
      try {
        return form.read();
      } catch (error) {
        if (!nested) control.focus();
        throw new Error(`${resolved.title ?? name}: ${error.message}`);
      }
    } };
  });
  return { element: h('div', { class: 'fields' }, fields.map(field => field.element)), read: () => {
    const value = {};
    for (const field of fields) {
      const said = field.read();
      if (said !== undefined) Object.defineProperty(value, field.name, { value: said, enumerable: true });
    }
    return value;
  } };
}

function oneOf(variants, root, depth) {
  const forms = variants.map(variant => schemaForm(variant, root, depth + 1));
  const label = (variant, at) => {
    const one = resolve(variant, root);
    if (one.title) return one.title;
    if (one.const !== undefined) return JSON.stringify(one.const);
    const tag = Object.values(one.properties ?? {}).find(property => property?.const !== undefined);
    return tag ? String(tag.const) : kind(one) ?? t('form.variant', { number: at + 1 });
  };
  const select = h('select', { 'aria-label': t('form.which') }, variants.map((variant, at) => h('option', { value: String(at) }, label(variant, at))));
  const box = h('div', {}, forms[0].element);
  select.addEventListener('change', () => box.replaceChildren(forms[select.selectedIndex].element));
  return { element: h('div', { class: 'variant' }, select, box), read: () => forms[select.selectedIndex].read() };
}
