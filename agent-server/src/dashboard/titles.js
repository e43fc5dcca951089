// What sessions are called: the first message of each, asked for once it is seen in the list, one at a time.

import { api } from './api.js';
import { cut } from './dom.js';
import { said } from './story.js';

const LENGTH = 80;

export class Titles {
  /** `scroll`: what the list is scrolled in. `on.wanted(id)`: whether it has none yet; `on.titled(id, title)`. */
  constructor(scroll, on) {
    this.on = on;
    this.waiting = new Set();
    this.asked = new Set();
    this.seen = new IntersectionObserver(entries => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) this.waiting.add(target.dataset.key);
        else this.waiting.delete(target.dataset.key);
      }
      this.ask();
    }, { root: scroll });
  }

  watch(row) {
    this.seen.observe(row);
  }

  /** Another caller may see other sessions. */
  reset() {
    this.asked.clear();
  }

  async ask() {
    if (this.asking) return;
    this.asking = true;
    for (const id of this.waiting) {
      this.waiting.delete(id);
      if (this.asked.has(id) || !this.on.wanted(id)) continue;
      this.asked.add(id);
      try {
        const { state } = await api.state(id, 1);
        const title = said(state, 'user');
        if (title) this.on.titled(id, cut(title.trim(), LENGTH));
      } catch {
        // it is called by its id
      }
    }
    this.asking = false;
  }
}
