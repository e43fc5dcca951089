// A form for a JSON Schema: fields where the schema is plain, JSON text where it is not.

import { choice, checkLength, field, json, lines, number, text, checkboxes } from './fields.js';
import { h } from './dom.js';
import { t } from './i18n.js';

const MAX_DEPTH = 5;
/** Enumerations of up to this many values are shown as buttons. */
const MAX_BUTTONS = 9;
const MAX_FIELDS = 60;
const MAX_VARIANTS = 20;
/** Schemas within one another, and in all, that are joined to one: a schema may hold itself. */
const MAX_NESTING = 8;
const MAX_PARTS = 400;

/** The values that a schema lets one choose from, where they are few: each is a whole answer. */
export function values(schema) {
  const { schema: one, nullable } = resolve(schema, schema);
  const all = one.const !== undefined ? [one.const] : Array.isArray(one.enum) ? one.enum : kind(one) === 'boolean' ? [true, false] : undefined;
  if (!all) return undefined;
  const whole = nullable && !all.includes(null) ? [...all, null] : all;
  return whole.length > 0 && whole.length <= MAX_BUTTONS ? whole : undefined;
}

/**
 * `{element, read(), at(keys), showProblem(text)}`: `read` returns the value or throws an `InvalidField`, `at` is the form of a part
 * of the value, `showProblem` shows a text at it.
 */
export function schemaForm(outer, root = outer, depth = 0, start = undefined, optional = false) {
  const { schema, nullable } = resolve(outer, root);
  const type = kind(schema);
  const first = start ?? schema.default;
  if (schema.const !== undefined) return { element: h('span', { class: 'mono' }, JSON.stringify(schema.const)), fixed: true, read: () => schema.const };
  if (Array.isArray(schema.enum)) return choice(nullable && !schema.enum.includes(null) ? [...schema.enum, null] : schema.enum, schema, first, optional);
  const variants = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(variants) && variants.length > 0 && variants.length <= MAX_VARIANTS && depth < MAX_DEPTH) return oneOf(nullable ? [...variants, { type: 'null' }] : variants, schema, root, depth);
  if (type === 'object' && schema.properties && depth < MAX_DEPTH) return nullable && !optional ? oneOf([schema, { type: 'null' }], {}, root, depth) : object(schema, root, depth, first);
  if (type === 'boolean') return choice(nullable ? [true, false, null] : [true, false], schema, first, optional);
  if (type === 'string') return text(schema, first, nullable);
  if (type === 'integer' || type === 'number') return number(schema, type, first, nullable);
  if (type === 'null') return { element: h('span', { class: 'mono' }, 'null'), fixed: true, read: () => null };
  if (type === 'array' && !nullable) {
    const { schema: items } = resolve(schema.items ?? {}, root);
    if (Array.isArray(items.enum) && items.enum.length <= MAX_VARIANTS) return checkboxes(items.enum, schema, first);
    if (['string', 'number', 'integer'].includes(kind(items))) return lines(kind(items), schema, first);
    if (Object.keys(items).length > 0 && depth < MAX_DEPTH) return list(schema, root, depth, first);
  }
  return json(first, schema);
}

/** Follows references, joins what must hold together, and takes "or null" out. */
function resolve(schema, root, depth = 0, room = { left: MAX_PARTS }) {
  if (depth > MAX_NESTING || (room.left -= 1) < 0) return { schema: {}, nullable: false };
  const part = one => resolve(one, root, depth + 1, room).schema;
  for (let hops = 0; hops < 16 && typeof schema?.$ref === 'string'; hops += 1) {
    const { $ref, ...beside } = schema;
    if (!$ref.startsWith('#')) return { schema: {}, nullable: false };
    let at = root;
    for (const part of $ref.slice(1).split('/').filter(Boolean)) at = at?.[decodeURIComponent(part).replace(/~1/g, '/').replace(/~0/g, '~')];
    schema = { ...(at ?? {}), ...beside };
  }
  if (!schema || typeof schema !== 'object') return { schema: {}, nullable: false };
  if (Array.isArray(schema.allOf) && schema.allOf.length <= MAX_VARIANTS) {
    const { allOf, ...beside } = schema;
    schema = [...allOf.map(part), beside].reduce((all, one) => ({
      ...all, ...one, ...(all.properties || one.properties ? { properties: { ...all.properties, ...one.properties }, required: [...(all.required ?? []), ...(one.required ?? [])] } : {}),
    }), {});
  }
  for (const some of ['anyOf', 'oneOf']) {
    if (!Array.isArray(schema[some])) continue;
    const others = schema[some].filter(one => one?.type !== 'null');
    if (others.length !== 1 || others.length === schema[some].length) continue;
    const { [some]: all, ...beside } = schema;
    return { schema: { ...part(others[0]), ...beside }, nullable: true };
  }
  return { schema, nullable: Array.isArray(schema.type) && schema.type.length > 1 && schema.type.includes('null') };
}

function kind(schema) {
  const types = [schema.type].flat().filter(type => type !== undefined && (type !== 'null' || schema.type === 'null'));
  return types.length === 1 ? types[0] : schema.properties && types.length === 0 ? 'object' : undefined;
}

/** Reads every part, so that all problems are shown at once. */
function readAll(parts) {
  let invalid;
  const read = parts.map(part => {
    try {
      return part.read();
    } catch (error) {
      invalid ??= error;
      return undefined;
    }
  });
  if (invalid) throw invalid;
  return read;
}

function object(schema, root, depth, first) {
  const required = new Set(schema.required ?? []);
  // Required properties come first, in the order of `required`; the order of the others may be lost.
  const names = [...[...required].filter(name => Object.hasOwn(schema.properties, name)), ...Object.keys(schema.properties).filter(name => !required.has(name))];
  const fields = names.slice(0, MAX_FIELDS).map(name => property(name, schema.properties[name], !required.has(name), root, depth, first?.[name]));
  const element = h('div', { class: 'fields' }, fields.map(one => one.element));
  return field(element, depth === 0 ? schema : { description: schema.description }, () => {
    const value = {};
    readAll(fields).forEach((given, at) => {
      if (given !== undefined) Object.defineProperty(value, fields[at].name, { value: given, enumerable: true });
    });
    return value;
  }, { nested: true, invalidMarked: h('span'), at(keys) {
    return keys.length === 0 ? this : fields.find(one => one.name === keys[0])?.form.at?.(keys.slice(1)) ?? this;
  } });
}

function property(name, schema, optional, root, depth, start) {
  const { schema: one } = resolve(schema, root);
  const form = schemaForm(schema, root, depth + 1, start, optional);
  const title = one.title ?? name;
  if (form.fixed) return { name, form, element: null, read: form.read };
  const { control } = form;
  if (control && !optional && control.matches('input, select, textarea')) control.setAttribute('aria-required', 'true');
  const label = [h('bdi', {}, title), optional ? h('span', { class: 'faint' }, ` ${t('form.optional')}`) : null];
  let left = () => form.empty?.() ?? false;
  let checkbox = null;
  if (optional && !form.empty) {
    checkbox = h('input', { type: 'checkbox', 'aria-label': t('form.give', { name: title }) });
    checkbox.checked = start !== undefined || one.default !== undefined;
    left = () => !checkbox.checked;
  }
  const read = () => (optional && left() ? undefined : form.read());
  if (control?.matches('input, select, textarea')) return { name, form, read, element: h('div', { class: 'field' }, h('label', { for: control.id }, label), form.element) };
  const element = h('fieldset', { class: 'nested' }, h('legend', {}, checkbox, label), form.element);
  if (checkbox) {
    // What is not given cannot be filled in; the tick in the legend stays.
    const updateDisabled = () => (element.disabled = !checkbox.checked);
    checkbox.addEventListener('change', updateDisabled);
    updateDisabled();
  }
  return { name, form, read, element };
}

/** A list of whatever can be a form: entries are added and taken away. */
function list(schema, root, depth, first) {
  let entries = [];
  const rows = h('ol', { class: 'entries' });
  const title = resolve(schema.items, root).schema.title;
  const add = start => {
    const form = schemaForm(schema.items, root, depth + 1, start);
    const remove = h('button', { type: 'button', class: 'quiet small', 'aria-label': t('form.remove'), title: t('form.remove'), on: { click: () => {
      entries = entries.filter(one => one !== entry);
      entry.row.remove();
      more.focus();
    } } }, '✕');
    const row = h('li', {}, h('fieldset', { class: 'nested' }, h('legend', {}, title ?? t('form.entry'), ' ', remove), form.element));
    const entry = { form, row };
    if (form.control?.matches('input, select, textarea')) form.control.setAttribute('aria-label', title ?? t('form.entry'));
    entries.push(entry);
    rows.append(row);
    return row;
  };
  const more = h('button', { type: 'button', class: 'small', on: { click: () => add().querySelector('input:not([type=checkbox]), select, textarea')?.focus() } }, t('form.add'));
  const start = Array.isArray(first) ? first : Array.from({ length: Math.min(schema.minItems ?? 0, MAX_VARIANTS) });
  start.forEach(one => add(one));
  return field(h('div', { class: 'list' }, rows, more), schema, () => checkLength(schema, readAll(entries.map(one => one.form))), { nested: true, invalidMarked: h('span'), at(keys) {
    return keys.length === 0 ? this : entries[Number(keys[0])]?.form.at?.(keys.slice(1)) ?? this;
  } });
}

function oneOf(variants, schema, root, depth) {
  const forms = variants.map(variant => schemaForm(variant, root, depth + 1));
  const label = (variant, at) => {
    const { schema: one } = resolve(variant, root);
    if (one.title) return one.title;
    if (one.const !== undefined) return JSON.stringify(one.const);
    const tag = Object.values(one.properties ?? {}).find(property => property?.const !== undefined);
    return tag ? String(tag.const) : kind(one) ?? t('form.variant', { number: at + 1 });
  };
  const select = h('select', { 'aria-label': t('form.which') }, variants.map((variant, at) => h('option', { value: String(at) }, label(variant, at))));
  const box = h('div', {});
  const show = () => {
    const { element, control } = forms[select.selectedIndex];
    if (control?.matches('input, select, textarea') && !control.labels?.length) control.setAttribute('aria-label', label(variants[select.selectedIndex], select.selectedIndex));
    box.replaceChildren(element);
  };
  select.addEventListener('change', show);
  show();
  return field(h('div', { class: 'variant' }, select, box), schema, () => forms[select.selectedIndex].read(), { nested: true, invalidMarked: h('span'), at(keys) {
    return forms[select.selectedIndex].at?.(keys) ?? this;
  } });
}
