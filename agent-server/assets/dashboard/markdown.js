// The Markdown that models write, as elements: headings, lists, tables, code, emphasis. Never HTML, no pictures.

import { add, h } from './dom.js';

const LINES = 4_000;
/** Longer lines are left as they are: looking for pairs in them could take for ever. */
const INLINE_MOST = 4_000;
const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|__(.+?)__|\*([^*\s](?:[^*]*[^*\s])?)\*|\[([^\]]*)\]\(([^()\s]+)\)/g;

/** Nodes for a text. */
export function markdown(text) {
  const lines = text.split('\n', LINES);
  const out = [];
  let at = 0;
  const take = test => {
    const taken = [];
    while (at < lines.length && test(lines[at])) taken.push(lines[at++]);
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at];
    const fence = /^\s*(```|~~~)(.*)$/.exec(line);
    const heading = /^(#{1,6})\s+(.*?)\s*#*\s*$/.exec(line);
    if (line.trim() === '') at += 1;
    else if (fence) {
      at += 1;
      const code = take(next => !next.trim().startsWith(fence[1]));
      at += 1;
      out.push(h('pre', { tabindex: 0 }, h('code', {}, code.join('\n'))));
    } else if (heading) {
      at += 1;
      out.push(h(`h${Math.min(heading[1].length + 2, 6)}`, {}, inline(heading[2])));
    } else if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) {
      at += 1;
      out.push(h('hr'));
    } else if (/^\s*>/.test(line)) {
      out.push(h('blockquote', {}, paragraph(take(next => /^\s*>/.test(next)).map(next => next.replace(/^\s*>\s?/, '')))));
    } else if (line.includes('|') && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[at + 1] ?? '')) {
      const rows = take(next => next.includes('|'));
      out.push(table(rows));
    } else if (ITEM.test(line)) {
      out.push(list(take(next => ITEM.test(next) || (/^\s{2,}\S/.test(next)))));
    } else {
      out.push(h('p', {}, paragraph(take(next => next.trim() !== '' && !/^(#{1,6}\s|\s*(```|~~~)|\s*>)/.test(next) && !ITEM.test(next)))));
    }
  }
  return out;
}

const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;

function list(lines) {
  const root = { depth: -1, element: null };
  const stack = [root];
  const tops = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (!item) {
      stack.at(-1).last?.append(' ', ...inline(line.trim()));
      continue;
    }
    const depth = item[1].length;
    while (stack.length > 1 && stack.at(-1).depth > depth) stack.pop();
    if (stack.at(-1).depth < depth) {
      const numbered = /\d/.test(item[2]);
      const element = h(numbered ? 'ol' : 'ul', numbered ? { start: Number.parseInt(item[2], 10) } : {});
      const parent = stack.at(-1);
      if (parent.last) parent.last.append(element);
      else tops.push(element);
      stack.push({ depth, element });
    }
    const top = stack.at(-1);
    top.last = h('li', {}, inline(item[3]));
    top.element.append(top.last);
  }
  return tops;
}

function table(rows) {
  const cells = row => row.trim().replace(/^\|/, '').replace(/\|$/, '').split('|').map(cell => inline(cell.trim()));
  const [head, , ...body] = rows;
  return h('div', { class: 'table', tabindex: 0, role: 'group' }, h('table', {}, h('thead', {}, h('tr', {}, cells(head).map(cell => h('th', {}, cell)))),
    h('tbody', {}, body.map(row => h('tr', {}, cells(row).map(cell => h('td', {}, cell)))))));
}

function paragraph(lines) {
  return lines.flatMap((line, at) => (at ? [h('br'), ...inline(line)] : inline(line)));
}

/** Emphasis, code and links within a line. */
export function inline(text) {
  if (text.length > INLINE_MOST) return [text];
  const out = [];
  let from = 0;
  for (const found of text.matchAll(INLINE)) {
    if (found.index > from) out.push(text.slice(from, found.index));
    const [all, , code, strong, strong2, weak, words, address] = found;
    if (code !== undefined) out.push(h('code', {}, code));
    else if (strong ?? strong2) out.push(h('strong', {}, inline(strong ?? strong2)));
    else if (weak !== undefined) out.push(h('em', {}, weak));
    else if (/^https?:\/\//i.test(address)) out.push(h('a', { href: address, rel: 'noopener noreferrer', target: '_blank' }, words || address));
    else out.push(all);
    from = found.index + all.length;
  }
  if (from < text.length) out.push(text.slice(from));
  return out;
}

/** Fills an element. */
export function render(element, text) {
  element.replaceChildren();
  add(element, markdown(text));
}
