// The Markdown that models write, as elements: headings, lists, tables, code, emphasis. Never HTML, no pictures.

import { add, h } from './dom.js';

const LINES = 4_000;
/** Emphasis is not parsed in longer lines. */
const MAX_INLINE = 4_000;
/** Longer lines are not looked at for what they begin or divide. */
const MAX_BLOCK = 4_000;

/** Nodes for a text. */
export function markdown(text) {
  const lines = text.split('\n', LINES);
  const out = [];
  let at = 0;
  const takeWhile = test => {
    const matching = [];
    while (at < lines.length && test(lines[at])) matching.push(lines[at++]);
    return matching;
  };
  while (at < lines.length) {
    const line = lines[at];
    const fence = /^\s*(```|~~~)/.exec(line);
    const heading = headingOf(line);
    if (line.trim() === '') at += 1;
    else if (fence) {
      at += 1;
      const code = takeWhile(next => !next.trim().startsWith(fence[1]));
      at += 1;
      out.push(h('pre', { tabindex: 0 }, h('code', {}, code.join('\n'))));
    } else if (heading) {
      at += 1;
      out.push(h(`h${Math.min(heading.level + 2, 6)}`, {}, inline(heading.text)));
    } else if (isRule(line)) {
      at += 1;
      out.push(h('hr'));
    } else if (/^\s*>/.test(line)) {
      out.push(h('blockquote', {}, paragraph(takeWhile(next => /^\s*>/.test(next)).map(next => next.replace(/^\s*>\s?/, '')))));
    } else if (line.includes('|') && isDivider(lines[at + 1] ?? '')) {
      const rows = takeWhile(next => next.includes('|'));
      out.push(table(rows));
    } else if (ITEM.test(line)) {
      out.push(list(takeWhile(next => ITEM.test(next) || (/^\s{2,}\S/.test(next)))));
    } else {
      out.push(h('p', {}, paragraph(takeWhile(next => next.trim() !== '' && !/^(#{1,6}\s|\s*(```|~~~)|\s*>)/.test(next) && !ITEM.test(next)))));
    }
  }
  return out;
}

/** `## Text ##`; `null` for any other line. */
function headingOf(line) {
  const level = /^#{0,6}/.exec(line)[0].length;
  if (level === 0 || !/\s/.test(line[level] ?? '')) return null;
  let text = line.slice(level).trim();
  let end = text.length;
  while (end > 0 && text[end - 1] === '#') end -= 1;
  return { level, text: text.slice(0, end).trimEnd() };
}

/** `---`, `* * *`: at least three of one kind and nothing else. */
function isRule(line) {
  if (line.length > MAX_BLOCK) return false;
  const marks = line.replace(/\s+/g, '');
  return marks.length >= 3 && '-*_'.includes(marks[0]) && [...marks].every(mark => mark === marks[0]);
}

/** `| --- | :-: |`: the line between the head of a table and its rows. */
function isDivider(line) {
  if (line.length > MAX_BLOCK) return false;
  const cells = line.trim().replace(/^\|/, '').replace(/\|$/, '').split('|');
  return cells.every(cell => /^:?-+:?$/.test(cell.trim()));
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
  if (text.length > MAX_INLINE) return [text];
  const out = [];
  const scan = new Scanner(text);
  let from = 0;
  for (let at = 0; at < text.length;) {
    const found = scan.at(at);
    if (!found) {
      at += scan.skip(at);
      continue;
    }
    if (at > from) out.push(text.slice(from, at));
    out.push(found.node ?? text.slice(at, found.end));
    at = from = found.end;
  }
  if (from < text.length) out.push(text.slice(from));
  return out;
}

/**
 * Finds what begins at an offset of a line. Each offset is read a bounded number of times: the position of the next
 * mark of a kind is cached, and so is its absence.
 */
class Scanner {
  constructor(text) {
    this.text = text;
    this.marks = new Map();
    this.runs = null;
    this.noLink = -1;
  }

  /** The next `mark` at or after an offset; -1 when there is none. Offsets must not decrease between calls. */
  next(mark, from) {
    const known = this.marks.get(mark);
    if (known !== undefined && (known === -1 || known >= from)) return known;
    const found = this.text.indexOf(mark, from);
    this.marks.set(mark, found);
    return found;
  }

  /** Where runs of back-ticks begin, by their length. */
  ticks(length) {
    if (!this.runs) {
      this.runs = new Map();
      for (const run of this.text.matchAll(/`+/g)) {
        const known = this.runs.get(run[0].length);
        if (known) known.places.push(run.index);
        else this.runs.set(run[0].length, { places: [run.index], at: 0 });
      }
    }
    return this.runs.get(length);
  }

  /** How far to go where nothing begins: a run of back-ticks is passed as a whole. */
  skip(at) {
    let end = at;
    while (this.text[end] === '`') end += 1;
    return Math.max(end - at, 1);
  }

  /** `{ end, node }`; without a node the text is shown as it is. */
  at(at) {
    switch (this.text[at]) {
      case '`': return this.code(at);
      case '*': return this.strong('**', at) ?? this.weak(at);
      case '_': return this.strong('__', at);
      case '[': return this.link(at);
      default: return null;
    }
  }

  code(at) {
    const length = this.skip(at);
    const runs = this.ticks(length);
    while (runs && runs.at < runs.places.length && runs.places[runs.at] < at + length) runs.at += 1;
    const close = runs?.places[runs.at];
    return close === undefined ? null : { end: close + length, node: h('code', {}, this.text.slice(at + length, close)) };
  }

  strong(mark, at) {
    if (!this.text.startsWith(mark, at)) return null;
    const close = this.next(mark, at + 3);
    return close === -1 ? null : { end: close + 2, node: h('strong', {}, inline(this.text.slice(at + 2, close))) };
  }

  weak(at) {
    const close = this.next('*', at + 1);
    if (close <= at + 1) return null;
    const words = this.text.slice(at + 1, close);
    return /^\s|\s$/.test(words) ? null : { end: close + 1, node: h('em', {}, words) };
  }

  link(at) {
    const close = this.next(']', at + 1);
    if (close === -1 || close === this.noLink || this.text[close + 1] !== '(') return null;
    const end = this.next(')', close + 2);
    const address = this.text.slice(close + 2, Math.max(end, close + 2));
    if (address === '' || /[(\s]/.test(address)) {
      // Whatever begins before it: not looked at again.
      this.noLink = close;
      return null;
    }
    if (!/^https?:\/\//i.test(address)) return { end: end + 1 };
    return { end: end + 1, node: h('a', { href: address, rel: 'noopener noreferrer', target: '_blank' }, this.text.slice(at + 1, close) || address) };
  }
}

/** Fills an element. */
export function render(element, text) {
  element.replaceChildren();
  add(element, markdown(text));
}
