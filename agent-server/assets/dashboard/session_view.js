// View of the open session: loads, follows and refreshes it.

import { api } from './api.js';
import { SessionSocket } from './socket.js';
import { SessionModel, eventOf, isActive, lastMessage } from './session_model.js';

/** Entries loaded when a session is opened. */
const INITIAL_ENTRIES = 300;
const PAGE = 200;
/** Entries loaded at most to find the start of the run. */
const MAX_LOOKBACK = 2_000;
/** Page size and maximum when a person goes far back. */
const LARGE_PAGE = 1_000;
const MAX_LOADED = 20_000;
const REFRESH = 4_000;
/** Timeout for the events up to the number that the server reported. */
const CATCH_UP_TIMEOUT = 1_500;

export class SessionView {
  /**
   * `message`: the first message of a session that does not exist yet. `on`: `draw()`, `connection()`,
   * `graphLoaded()`, `reopen()`, `rejected(text)`, `statusChanged(status)`, `questionAsked(prompt)`, `stateAt(seq)`.
   */
  constructor(id, message, on) {
    Object.assign(this, { id, on, model: new SessionModel(), pending: message, loadedSeqs: new Set(), requestedTexts: new Set() });
    if (id === undefined) return;
    if (message === undefined) this.load();
    else {
      // The socket is opened before the run, so that its first events are not missed.
      this.connect(0);
      this.scheduleRefresh();
    }
  }

  /** Ends the connection and the timers. */
  close() {
    this.closed = true;
    this.socket?.close();
    clearTimeout(this.refreshTimer);
    clearTimeout(this.catchUpTimer);
  }

  draw() {
    if (!this.closed) this.on.draw();
  }

  /** Reads the session, then follows it. */
  async load() {
    let last = 0;
    try {
      const body = await api.session(this.id);
      if (this.closed) return;
      this.markFound();
      last = body.data?.last_seq ?? 0;
      this.model.applyStatus(body);
      this.pendingStatus = last > 0 ? body : undefined;
    } catch (error) {
      this.markMissing(error);
      if (!this.closed && !this.missing) this.refreshTimer = setTimeout(() => this.load(), REFRESH);
      return;
    }
    this.connect(Math.max(0, last - INITIAL_ENTRIES));
    this.loadGraph();
    this.scheduleRefresh();
  }

  markFound() {
    this.missing = false;
    this.fault = undefined;
  }

  markMissing(error) {
    this.missing = error.status === 404 && this.pending === undefined;
    this.fault = this.missing || !this.socket ? error : undefined;
    this.draw();
  }

  connect(after) {
    this.socket = new SessionSocket(this.id, after, {
      message: message => this.closed || this.receive(message),
      connection: state => {
        this.connection = state;
        if (!this.closed) this.on.connection();
      },
      reconnected: () => this.reconcile(true),
      rejected: () => this.reconcile(),
    });
    this.catchUpTimer = setTimeout(() => this.finishCatchUp(), CATCH_UP_TIMEOUT);
  }

  receive(message) {
    const event = eventOf(message);
    if (!event) return;
    if (event.type === 'refused') {
      this.on.rejected(event.data.message);
      return;
    }
    const { model } = this;
    const before = model.status;
    if (this.pendingStatus && event.seq > this.pendingStatus.data.last_seq) this.finishCatchUp();
    model.apply(event);
    if (this.pendingStatus && event.seq === this.pendingStatus.data.last_seq) this.finishCatchUp();
    if (this.pendingStatus) return; // catching up: drawn at its end
    this.notify(event, before);
    this.draw();
  }

  /** Ends the catch-up: from here on each event is shown when it arrives. */
  finishCatchUp() {
    clearTimeout(this.catchUpTimer);
    const body = this.pendingStatus;
    this.pendingStatus = undefined;
    if (this.closed) return;
    if (body && body.data.last_seq >= this.model.last) this.model.applyStatus(body);
    this.loadRunStart();
    this.completeQuestions();
    this.draw();
  }

  /** Loads entries back to the start of the run, so that the graph and the conversation are complete. */
  async loadRunStart() {
    const { model } = this;
    const hasStart = () => model.entries.some(entry => entry.type === 'run_started');
    try {
      while (!this.closed && model.first > 1 && model.entries.length < MAX_LOOKBACK && !hasStart()) {
        if (!(await this.loadOlder())) break;
      }
      // The message of the socket lacks the first nodes of a run.
      const start = model.entries.findLast(entry => entry.type === 'run_started');
      if (!this.closed && start?.partial && isActive(model.status)) {
        await this.loadFullEntry(start);
        if (model.nodes.size === 0) for (const node of start.data.next ?? []) model.node(node).due = true;
      }
    } catch {
      // the loaded entries are shown
    }
    this.draw();
  }

  /** Loads the previous page, or all entries back to a number. Returns whether there were any. */
  loadOlder(upto) {
    // One after another: each page starts where the previous one ended.
    const page = (this.paging ?? Promise.resolve()).then(() => this.loadPages(upto));
    this.paging = page.catch(() => {});
    return page;
  }

  async loadPages(upto) {
    let { first } = this.model;
    if (first <= Math.max(upto ?? 1, 1)) return false;
    const size = upto === undefined ? PAGE : LARGE_PAGE;
    const pages = [];
    for (let loaded = 0; first > 1 && loaded < MAX_LOADED && !this.closed; loaded += size) {
      const { entries } = await api.journal(this.id, Math.max(0, first - 1 - size), size);
      const fresh = entries.filter(entry => entry.seq < first);
      if (fresh.length === 0) break;
      pages.unshift(fresh);
      first = fresh[0].seq;
      if (upto === undefined || first <= upto) break;
    }
    if (!this.closed) this.model.prepend(pages.flat());
    return pages.length > 0;
  }

  /** Replaces an entry of the socket by the full one of the journal. */
  async loadFullEntry(entry) {
    const { entries } = await api.journal(this.id, entry.seq - 1, 1);
    if (entries[0]?.seq !== entry.seq) return false;
    Object.assign(entry, entries[0], { partial: false });
    return true;
  }

  /** Reacts to an event that concerns more than the model. */
  notify(event, before) {
    const { model } = this;
    this.missing = false;
    if (event.type === 'run_started' || event.type === 'run_queued') {
      const run = event.run ?? model.run;
      if (this.pending !== undefined && run !== undefined) {
        model.exchanges.set(run, { ...model.exchanges.get(run), message: this.pending });
        this.pending = undefined;
      }
      if (!this.graph || (event.data.graph && this.graph.name !== event.data.graph)) this.loadGraph();
    }
    if (event.type === 'question_asked') {
      this.on.questionAsked(event.data.question.prompt);
      this.completeQuestions();
    }
    if (model.status !== before && model.status) {
      this.on.statusChanged(model.status);
      if (!isActive(model.status)) this.scheduleRefresh(300);
    }
  }

  /** Loads the details of questions that were shortened for the socket. */
  async completeQuestions() {
    const { model } = this;
    for (const open of [...model.questions.values()]) {
      const entry = open.partial && model.entries.findLast(one => one.type === 'question_asked' && one.partial && one.data.id === open.id);
      if (!entry || this.loadedSeqs.has(entry.seq)) continue;
      this.loadedSeqs.add(entry.seq);
      try {
        if ((await this.loadFullEntry(entry)) && model.questions.has(open.id)) model.questions.set(open.id, { ...entry.data, until: open.until, partial: false });
      } catch {
        // the question can be answered as it is
      }
    }
    this.draw();
  }

  /** Compares the model with the server: after a lost connection, at the end of a run, and periodically. */
  async reconcile(again = false) {
    if (this.closed || this.pendingStatus) return;
    try {
      const body = await api.session(this.id);
      if (this.closed || this.pendingStatus) return;
      this.markFound();
      const { model } = this;
      const { last_seq: last, ...data } = body.data ?? {};
      this.polled = this.connection !== 'open';
      if (this.polled) await this.pollJournal();
      if (this.closed) return;
      if (again && last < model.last) {
        // The server has another journal of this name: open it again.
        this.on.reopen();
        return;
      }
      if (last === model.last) model.applyStatus({ ...body, data: again ? data : { ...data, running: undefined } });
      else Object.assign(model, { usage: data.usage, sizes: data.sizes, activeSeconds: data.execution_time });
    } catch (error) {
      this.polled = false;
      this.markMissing(error);
    }
    this.draw();
  }

  /** Polls the journal when no socket can be opened. */
  async pollJournal() {
    const { socket, model } = this;
    for (let more = socket !== undefined; more && !this.closed && this.connection !== 'open'; ) {
      const { entries } = await api.journal(this.id, socket.after, PAGE);
      if (this.connection === 'open') return;
      for (const entry of entries) {
        const before = model.status;
        socket.after = entry.seq;
        model.apply(entry);
        this.notify(entry, before);
      }
      more = entries.length === PAGE;
    }
  }

  scheduleRefresh(wait = REFRESH) {
    clearTimeout(this.refreshTimer);
    this.refreshTimer = setTimeout(async () => {
      if (this.closed) return;
      const due = wait !== REFRESH || isActive(this.model.status);
      if (due && !document.hidden && (this.connection === 'open' || this.polled)) await this.reconcile();
      if (!this.closed) this.scheduleRefresh();
    }, wait);
  }

  async loadGraph() {
    try {
      this.graph = await api.graph(this.id);
    } catch {
      this.graph ??= null;
    }
    if (!this.closed) this.on.graphLoaded();
    this.draw();
  }

  /** Finds the message and the answer of runs that were read from the journal. */
  async loadExchanges(runs) {
    if (this.loadingExchanges || this.pendingStatus || this.id === undefined) return;
    const { model } = this;
    const missingTexts = [];
    for (const run of runs) {
      const exchange = model.exchanges.get(run.id) ?? {};
      // If the start of the latest run was not loaded, its message is in its current state.
      const from = run.startSeq ?? (run.id === model.run ? run.endSeq ?? model.last : undefined);
      if (exchange.message === undefined && from) missingTexts.push([run, 'message', from, 'user']);
      if (exchange.answer === undefined && run.status === 'completed' && run.endSeq) missingTexts.push([run, 'answer', run.endSeq, 'assistant']);
    }
    const next = missingTexts.filter(([run, field]) => !this.requestedTexts.has(`${run.id}|${field}`));
    if (next.length === 0) return;
    this.loadingExchanges = true;
    try {
      for (const [run, field, seq, role] of next) {
        this.requestedTexts.add(`${run.id}|${field}`);
        const { state } = await this.on.stateAt(seq);
        if (this.closed) return;
        const text = lastMessage(state, role);
        if (text !== undefined) model.exchanges.set(run.id, { ...model.exchanges.get(run.id), [field]: text });
      }
    } catch {
      // the conversation is shown without them
    }
    this.loadingExchanges = false;
    this.draw();
  }

  /** Waits up to 300 ms for the socket. Everything works without it too. */
  async waitUntilConnected() {
    for (let left = 30; left > 0 && this.connection !== 'open'; left -= 1) await new Promise(resolve => setTimeout(resolve, 10));
  }
}
