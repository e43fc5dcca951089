// The dashboard's Markdown without a browser: what it makes, and that no line keeps the page from answering.
// Usage: node --test markdown.mjs

import assert from 'node:assert/strict';
import { test } from 'node:test';

/** As much of a document as elements need that are only made. */
class Node {}
class Element extends Node {
  constructor(tag) {
    super();
    this.tag = tag;
    this.parts = [];
    this.attributes = {};
  }

  setAttribute(name, value) {
    this.attributes[name] = value;
  }

  append(...parts) {
    this.parts.push(...parts);
  }
}
globalThis.Node = Node;
globalThis.document = { createElement: tag => new Element(tag) };
const { inline, markdown } = await import('../../assets/dashboard/markdown.js');

const shown = part => Array.isArray(part) ? part.map(shown).join('') : (typeof part === 'string' ? part : `<${part.tag}>${part.parts.map(shown).join('')}</${part.tag}>`);
const line = text => inline(text).map(shown).join('');
const page = text => markdown(text).map(shown).join('');

test('emphasis, code and links become elements and everything else stays text', () => {
  for (const [text, wanted] of [
    ['plain 한글', 'plain 한글'],
    ['a **b** c __d__ *e*', 'a <strong>b</strong> c <strong>d</strong> <em>e</em>'],
    ['`code` and ``a ` b``', '<code>code</code> and <code>a ` b</code>'],
    ['`open and ** open and * open and [open', '`open and ** open and * open and [open'],
    ['``a`', '``a`'],
    ['2 * 3 * 4', '2 * 3 * 4'],
    ['**bold `code`**', '<strong>bold <code>code</code></strong>'],
    ['***x***', '<strong>*x</strong>*'],
    ['[site](https://a.example/x) end', '<a>site</a> end'],
    ['[](https://a.example)', '<a>https://a.example</a>'],
    ['[no](javascript:alert(1)) [a] (b) [c](d e)', '[no](javascript:alert(1)) [a] (b) [c](d e)'],
  ]) assert.equal(line(text), wanted, text);
});

test('blocks become elements', () => {
  for (const [text, wanted] of [
    ['# One ##', '<h3>One</h3>'],
    ['####### seven', '<p>####### seven</p>'],
    ['#none', '<p>#none</p>'],
    ['---', '<hr></hr>'],
    ['* * *', '<hr></hr>'],
    ['- a\n- b', '<ul><li>a</li><li>b</li></ul>'],
    ['> a\n> b', '<blockquote>a<br></br>b</blockquote>'],
    ['```\n**x**\n```', '<pre><code>**x**</code></pre>'],
    ['a | b\n--|:-:\n1 | 2', '<div><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr></tbody></table></div>'],
  ]) assert.equal(page(text), wanted, text);
});

test('no text keeps the page from answering', () => {
  const marks = ['`', '``a', '*', '* a', '**', '**a', '_', '__a', '[', '[](', '[a](b ', '[[a](', '*`[', '**_`'];
  const lines = marks.map(mark => mark.repeat(Math.ceil(4_000 / mark.length)).slice(0, 4_000));
  // Runs of back-ticks that all differ in length.
  lines.push(Array.from({ length: 85 }, (_, at) => '`'.repeat(at + 1)).join(' '));
  lines.push(`${'['.repeat(1_900)}](${'a'.repeat(1_900)} b)`);
  const spaces = ' '.repeat(100_000);
  lines.push(`# ${spaces}x`, `# ${'#'.repeat(100_000)}x`, `${spaces}x`, `|${spaces}x`, `${'- '.repeat(50_000)}x`, `a\u2028${spaces}`);
  for (const text of lines) {
    // Of the processor: others may use it at the same time.
    const begun = process.cpuUsage();
    markdown(`a|b\n${text}`);
    markdown(text);
    const took = process.cpuUsage(begun).user / 1_000;
    assert.ok(took < 400, `${JSON.stringify(text.slice(0, 12))} took ${Math.round(took)} ms`);
  }
});
