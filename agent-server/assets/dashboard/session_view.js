// View of the open session: loads, follows and refreshes it.

import { api } from './api.js';
import { Live } from './socket.js';
import { Story, eventOf, isLive, said } from './session_model.js';

/** Entries loaded when a session is opened. */
const WINDOW = 300;
const PAGE = 200;
/** Entries loaded at most to find the start of the run. */
const FAR = 2_000;
/** A page, and entries at once, when one goes far back. */
const LEAP = 1_000;
const LEAPS = 20_000;
const REFRESH = 4_000;
/** What the server counted but does not send must not hold the page up for longer. */
const SETTLE = 1_500;

export class SessionView {
  /**
   * `message`: the first message of a session that does not exist yet. `on`: `draw()`, `link()`, `graph()`,
   * `reopen()`, `refused(words)`, `moved(status)`, `asked(prompt)`, `stateAt(seq)`.
   */
  constructor(id, message, on) {
    Object.assign(this, { id, on, story: new Story(), pending: message, looked: new Set(), asked: new Set() });
    if (id === undefined) return;
    if (message === undefined) this.begin();
    else {
      // Its first words are not to be missed: the socket is there before the run.
      this.follow(0);
      this.refresh();
    }
  }

  /** Looked at no more. */
  end() {
    this.ended = true;
    this.live?.end();
    clearTimeout(this.refreshing);
    clearTimeout(this.settling);
  }

  draw() {
    if (!this.ended) this.on.draw();
  }

  /** Reads the session, then follows it. */
  async begin() {
    let last = 0;
    try {
      const body = await api.session(this.id);
      if (this.ended) return;
      this.known();
      last = body.data?.last_seq ?? 0;
      this.story.standing(body);
      this.standing = last > 0 ? body : undefined;
    } catch (error) {
      this.unknown(error);
      if (!this.ended && !this.missing) this.refreshing = setTimeout(() => this.begin(), REFRESH);
      return;
    }
    this.follow(Math.max(0, last - WINDOW));
    this.loadGraph();
    this.refresh();
  }

  known() {
    this.missing = false;
    this.fault = undefined;
  }

  unknown(error) {
    this.missing = error.status === 404 && this.pending === undefined;
    this.fault = this.missing || !this.live ? error : undefined;
    this.draw();
  }

  follow(after) {
    this.live = new Live(this.id, after, {
      message: message => this.ended || this.take(message),
      link: state => {
        this.link = state;
        if (!this.ended) this.on.link();
      },
      back: () => this.reconcile(true),
      refused: () => this.reconcile(),
    });
    this.settling = setTimeout(() => this.settle(), SETTLE);
  }

  take(message) {
    const event = eventOf(message);
    if (!event) return;
    if (event.type === 'refused') {
      this.on.refused(event.data.message);
      return;
    }
    const { story } = this;
    const before = story.status;
    if (this.standing && event.seq > this.standing.data.last_seq) this.settle();
    story.apply(event);
    if (this.standing && event.seq === this.standing.data.last_seq) this.settle();
    if (this.standing) return; // still catching up: shown when it is whole
    this.announce(event, before);
    this.draw();
  }

  /** The past is read: from here on each event is shown as it comes. */
  settle() {
    clearTimeout(this.settling);
    const body = this.standing;
    this.standing = undefined;
    if (this.ended) return;
    if (body && body.data.last_seq >= this.story.last) this.story.standing(body);
    this.whole();
    this.complete();
    this.draw();
  }

  /** Reads back to where the run began, so that the graph and the conversation are whole. */
  async whole() {
    const { story } = this;
    const begun = () => story.entries.some(entry => entry.type === 'run_started');
    try {
      while (!this.ended && story.first > 1 && story.entries.length < FAR && !begun()) {
        if (!(await this.older())) break;
      }
      // The socket does not say which nodes a run begins with.
      const start = story.entries.findLast(entry => entry.type === 'run_started');
      if (!this.ended && start?.thin && isLive(story.status)) {
        await this.inFull(start);
        if (story.nodes.size === 0) for (const node of start.data.next ?? []) story.node(node).due = true;
      }
    } catch {
      // what is there is shown
    }
    this.draw();
  }

  /** Loads a page of what came before, or all back to a number; gives whether there was any. */
  older(upto) {
    // One after another: each begins where the one before it ended.
    const turn = (this.paging ?? Promise.resolve()).then(() => this.back(upto));
    this.paging = turn.catch(() => {});
    return turn;
  }

  async back(upto) {
    let { first } = this.story;
    if (first <= Math.max(upto ?? 1, 1)) return false;
    const size = upto === undefined ? PAGE : LEAP;
    const pages = [];
    for (let loaded = 0; first > 1 && loaded < LEAPS && !this.ended; loaded += size) {
      const { entries } = await api.journal(this.id, Math.max(0, first - 1 - size), size);
      const fresh = entries.filter(entry => entry.seq < first);
      if (fresh.length === 0) break;
      pages.unshift(fresh);
      first = fresh[0].seq;
      if (upto === undefined || first <= upto) break;
    }
    if (!this.ended) this.story.older(pages.flat());
    return pages.length > 0;
  }

  /** The socket's form of an entry says less than the journal's. */
  async inFull(entry) {
    const { entries } = await api.journal(this.id, entry.seq - 1, 1);
    if (entries[0]?.seq !== entry.seq) return false;
    Object.assign(entry, entries[0], { thin: false });
    return true;
  }

  /** What an event means beside the story. */
  announce(event, before) {
    const { story } = this;
    this.missing = false;
    if (event.type === 'run_started' || event.type === 'run_queued') {
      const run = event.run ?? story.run;
      if (this.pending !== undefined && run !== undefined) {
        story.words.set(run, { ...story.words.get(run), message: this.pending });
        this.pending = undefined;
      }
      if (!this.graph || (event.data.graph && this.graph.name !== event.data.graph)) this.loadGraph();
    }
    if (event.type === 'question_asked') {
      this.on.asked(event.data.question.prompt);
      this.complete();
    }
    if (story.status !== before && story.status) {
      this.on.moved(story.status);
      if (!isLive(story.status)) this.refresh(300);
    }
  }

  /** A server may leave out over the socket what a question is about. */
  async complete() {
    const { story } = this;
    for (const asked of [...story.questions.values()]) {
      const entry = asked.thin && story.entries.findLast(one => one.type === 'question_asked' && one.thin && one.data.id === asked.id);
      if (!entry || this.looked.has(entry.seq)) continue;
      this.looked.add(entry.seq);
      try {
        if ((await this.inFull(entry)) && story.questions.has(asked.id)) story.questions.set(asked.id, { ...entry.data, until: asked.until, thin: false });
      } catch {
        // the question can be answered as it is
      }
    }
    this.draw();
  }

  /** Compares with what the server says: after a loss, at an end, now and then. */
  async reconcile(again = false) {
    if (this.ended || this.standing) return;
    try {
      const body = await api.session(this.id);
      if (this.ended || this.standing) return;
      this.known();
      const { story } = this;
      const { last_seq: last, ...data } = body.data ?? {};
      this.polled = this.link !== 'open';
      if (this.polled) await this.pull();
      if (this.ended) return;
      if (again && last < story.last) {
        // The server has another journal under this name: begin anew.
        this.on.reopen();
        return;
      }
      if (last === story.last) story.standing({ ...body, data: again ? data : { ...data, running: undefined } });
      else Object.assign(story, { usage: data.usage, sizes: data.sizes, seconds: data.execution_time });
    } catch (error) {
      this.polled = false;
      this.unknown(error);
    }
    this.draw();
  }

  /** Polls the journal when no socket can be opened. */
  async pull() {
    const { live, story } = this;
    for (let more = live !== undefined; more && !this.ended && this.link !== 'open'; ) {
      const { entries } = await api.journal(this.id, live.after, PAGE);
      if (this.link === 'open') return;
      for (const entry of entries) {
        const before = story.status;
        live.after = entry.seq;
        story.apply(entry);
        this.announce(entry, before);
      }
      more = entries.length === PAGE;
    }
  }

  refresh(wait = REFRESH) {
    clearTimeout(this.refreshing);
    this.refreshing = setTimeout(async () => {
      if (this.ended) return;
      const due = wait !== REFRESH || isLive(this.story.status);
      if (due && !document.hidden && (this.link === 'open' || this.polled)) await this.reconcile();
      if (!this.ended) this.refresh();
    }, wait);
  }

  async loadGraph() {
    try {
      this.graph = await api.graph(this.id);
    } catch {
      this.graph ??= null;
    }
    if (!this.ended) this.on.graph();
    this.draw();
  }

  /** Finds the message and the answer of runs that were read from the journal. */
  async words(runs) {
    if (this.wording || this.standing || this.id === undefined) return;
    const { story } = this;
    const wanted = [];
    for (const run of runs) {
      const known = story.words.get(run.id) ?? {};
      // If the start of the latest run was not loaded, its message is in its current state.
      const from = run.startSeq ?? (run.id === story.run ? run.endSeq ?? story.last : undefined);
      if (known.message === undefined && from) wanted.push([run, 'message', from, 'user']);
      if (known.answer === undefined && run.status === 'completed' && run.endSeq) wanted.push([run, 'answer', run.endSeq, 'assistant']);
    }
    const next = wanted.filter(([run, field]) => !this.asked.has(`${run.id}|${field}`));
    if (next.length === 0) return;
    this.wording = true;
    try {
      for (const [run, field, seq, role] of next) {
        this.asked.add(`${run.id}|${field}`);
        const { state } = await this.on.stateAt(seq);
        if (this.ended) return;
        const text = said(state, role);
        if (text !== undefined) story.words.set(run.id, { ...story.words.get(run.id), [field]: text });
      }
    } catch {
      // the conversation is shown without them
    }
    this.wording = false;
    this.draw();
  }

  /** Waits for the socket, a moment: without it everything works too. */
  async linked() {
    for (let left = 30; left > 0 && this.link !== 'open'; left -= 1) await new Promise(resolve => setTimeout(resolve, 10));
  }
}
