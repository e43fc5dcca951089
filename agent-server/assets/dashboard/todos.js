// The plan as a tree with progress.

import { h, keyed, setAttr, setText } from './dom.js';
import { t } from './i18n.js';

const MARKS = { pending: '○', in_progress: '●', completed: '✓', failed: '✕', cancelled: '⊘' };
const MOST = 500;

export class TodosView {
  constructor(element, summary) {
    this.summary = summary;
    this.list = h('ul', { class: 'todos' });
    this.none = h('p', { class: 'empty' });
    element.append(this.none, this.list);
  }

  draw(todos) {
    const all = [...todos.values()].slice(0, MOST);
    const known = new Set(all.map(todo => todo.id));
    const under = new Map();
    for (const todo of all) {
      const parent = todo.parent !== undefined && known.has(todo.parent) && todo.parent !== todo.id ? todo.parent : null;
      under.set(parent, [...(under.get(parent) ?? []), todo]);
    }
    this.none.hidden = all.length > 0;
    setText(this.none, t('todos.none'));
    const tops = under.get(null) ?? [];
    this.level(this.list, tops, under, 0);
    const done = all.filter(todo => todo.status === 'completed').length;
    const progress = tops.length ? Math.round(tops.reduce((sum, todo) => sum + (todo.progress ?? 0), 0) / tops.length) : 0;
    setText(this.summary, all.length ? t('todos.sum', { done, all: all.length, progress }) : '');
  }

  level(list, todos, under, depth) {
    keyed(list, todos, todo => todo.id, createTodo, (element, todo) => {
      updateTodo(element, todo);
      const inner = depth < 16 ? under.get(todo.id) ?? [] : [];
      element.parts.inner.hidden = inner.length === 0;
      this.level(element.parts.inner, inner, under, depth + 1);
    });
  }
}

function createTodo() {
  const parts = {
    mark: h('span', { class: 'mark', 'aria-hidden': 'true' }), title: h('span', { class: 'title', dir: 'auto' }), state: h('span', { class: 'sr' }),
    percent: h('span', { class: 'percent' }), message: h('div', { class: 'message', dir: 'auto' }), bar: h('progress', { max: '100' }), inner: h('ul', {}),
  };
  const element = h('li', { class: 'todo' }, h('div', { class: 'line' }, parts.mark, parts.title, parts.state, parts.percent), parts.message, parts.bar, parts.inner);
  element.parts = parts;
  return element;
}

function updateTodo(element, todo) {
  const { parts } = element;
  const moving = todo.status === 'in_progress';
  setAttr(element, 'data-state', todo.status);
  setText(parts.mark, MARKS[todo.status] ?? '○');
  setText(parts.title, todo.title ?? todo.message ?? todo.id);
  setText(parts.state, `, ${t(`todo.${todo.status}`)}`);
  setText(parts.percent, moving && todo.progress > 0 ? `${todo.progress}%` : '');
  const message = todo.message && todo.message !== todo.title ? todo.message : '';
  parts.message.hidden = !message;
  setText(parts.message, message);
  parts.bar.hidden = !moving;
  parts.bar.value = todo.progress ?? 0;
  setAttr(parts.bar, 'aria-label', `${todo.title ?? todo.id} ${todo.progress ?? 0}%`);
}
