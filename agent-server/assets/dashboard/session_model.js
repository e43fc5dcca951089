// Model of one session: a fold of its events. Pure: no element, no request.

const ACTIVE = new Set(['queued', 'started', 'running']);
/** Unnumbered texts of one message are kept up to this length; the whole text comes with the journal. */
const MAX_TEXT = 200_000;

/** `outer#3/inner#2` to `outer/inner`. */
export const nodePath = task => (task ?? '').split('/').map(part => part.replace(/#\d+$/, '')).join('/');

export const isActive = status => ACTIVE.has(status);

/** A message of the socket, or an entry of the journal, as an event: `{seq?, at, run?, task?, type, data}`. */
export function eventOf(message) {
  const { type, data, seq } = message;
  if (message.at !== undefined) return message;
  const at = Date.parse(message.timestamp) || Date.now();
  const make = (kind, body, run) => ({ seq, at, run, type: kind, data: body, partial: true });
  switch (type) {
    case 'event':
      return data;
    case 'todo_update':
      return make('todo_updated', { ...data, id: data.todo_id });
    case 'hitl_request':
      return make('question_asked', questionOf(data));
    case 'complete':
      return make('run_completed', { active_ms: Math.round((data.execution_time ?? 0) * 1000), response: data.response });
    case 'status':
      return make({ queued: 'run_queued', started: 'run_started', running: 'run_resumed', paused: 'run_paused', stopped: 'run_stopped', rolled_back: 'run_rolled_back' }[data.status] ?? data.status, { break_before: data.break_before, break_after: data.break_after }, data.run);
    case 'error': {
      const { code, after, upto, node } = data.details ?? {};
      if (code === 'gap') return make('gap', { after, upto, unnumbered: 0 });
      if (code === 'run_stopped') return null; // the status message reports it
      if (seq === undefined) return { at, type: 'refused', data: { code, message: data.error } };
      return make('run_failed', { code, message: data.error, node });
    }
    default:
      return null;
  }
}

/** A question as the REST and socket contracts write it, in the form of the journal. */
export function questionOf(data) {
  const { id, task, prompt, options, schema, details, open, deadline, kind } = data;
  return { id, task: task ?? id?.split(':')[0], question: { prompt, options: options ?? [], schema, details, open, timer: kind === 'timer' }, until: deadline ? Date.parse(deadline) : undefined };
}

const plainText = content => (typeof content === 'string' ? content
  : Array.isArray(content) ? content.map(part => part?.text ?? '').join('') : '');

/** The last message of `role` in a state; `undefined` if the state has none. */
export function lastMessage(state, role) {
  if (!state || typeof state !== 'object') return undefined;
  if (role === 'user' && typeof state.message === 'string') return state.message;
  if (role === 'assistant' && typeof state.response === 'string') return state.response;
  if (!Array.isArray(state.messages)) return undefined;
  const last = state.messages.findLast(message => message?.role === role && plainText(message.content) !== '');
  return last && plainText(last.content);
}

class Run {
  constructor(id) {
    this.id = id;
    this.items = [];
    this.byKey = new Map();
    this.status = 'started';
  }

  item(key, make) {
    let item = this.byKey.get(key);
    if (!item) {
      item = { key, ...make() };
      this.byKey.set(key, item);
      this.items.push(item);
    }
    return item;
  }
}

export class SessionModel {
  constructor() {
    this.entries = [];
    this.streamedTexts = new Map();
    this.toolCalls = new Map();
    /** Message and answer of each run. The journal does not have them as such. */
    this.exchanges = new Map();
    this.clear();
  }

  clear() {
    this.runs = new Map();
    this.run = undefined;
    this.todos = new Map();
    this.questions = new Map();
    this.nodes = new Map();
    this.calls = new Map();
    this.graph = undefined;
    this.breakpoints = { before: [], after: [] };
    this.status = undefined;
    this.failure = undefined;
    this.forked = undefined;
  }

  get first() {
    return this.entries.find(entry => entry.seq !== undefined)?.seq ?? 0;
  }

  get last() {
    return this.entries.at(-1)?.seq ?? 0;
  }

  runOf(id) {
    const number = id ?? this.run ?? 1;
    let run = this.runs.get(number);
    if (!run) this.runs.set(number, (run = new Run(number)));
    return run;
  }

  /** Applies the status of the session as sent by the server. */
  applyStatus(body) {
    const data = body.data ?? {};
    this.status = body.status ?? this.status;
    this.usage = data.usage;
    this.sizes = data.sizes;
    this.agent = data.agent ?? this.agent;
    this.state = data.state;
    this.activeSeconds = data.execution_time;
    if (data.run) {
      this.run = data.run;
      const exchange = this.exchanges.get(data.run) ?? {};
      if (body.status === 'completed' && typeof data.response === 'string') this.exchanges.set(data.run, { ...exchange, answer: data.response });
      const run = this.runOf(data.run);
      run.status = body.status;
      if (data.error) run.failure ??= data.error;
    }
    this.failure = body.status === 'failed' ? data.error ?? this.failure : undefined;
    if (data.todos) this.todos = new Map(data.todos.map(todo => [todo.todo_id, { ...todo, id: todo.todo_id }]));
    if (data.questions) {
      const known = this.questions;
      this.questions = new Map(data.questions.map(asked => {
        const one = questionOf(asked);
        const old = known.get(one.id);
        if (one.task) this.node(one.task).waiting.add(one.task);
        return [one.id, old && !old.partial ? { ...old, until: one.until ?? old.until } : { ...one, partial: asked.details === undefined }];
      }));
    }
    if (Array.isArray(data.running) && (isActive(this.status) || this.status === 'paused')) {
      for (const node of this.nodes.values()) node.running.clear();
      for (const task of data.running) this.node(task).running.add(task);
    }
  }

  /** Adds older entries at the front, and folds all of them again. */
  prepend(entries) {
    const known = this.first;
    this.entries = [...entries.filter(entry => !known || entry.seq < known), ...this.entries];
    const { usage, sizes, agent, state, activeSeconds, status, failure, todos, questions, nodes } = this;
    this.clear();
    for (const entry of this.entries) this.fold(entry);
    // Values received as a whole, or live, are more complete than the window of entries.
    Object.assign(this, { usage, sizes, agent, state, activeSeconds, status, failure, todos, questions });
    for (const [path, node] of nodes) {
      if (node.running.size > 0) this.node(path).running = node.running;
    }
  }

  /** Adds one event. */
  apply(event) {
    if (!event) return;
    if (event.seq !== undefined) {
      if (event.seq <= this.last) return;
      this.entries.push(event);
    } else if (event.type === 'gap' && event.data.upto > event.data.after) {
      this.entries.push(event);
    }
    this.fold(event);
  }

  node(task) {
    const path = nodePath(task);
    let node = this.nodes.get(path);
    if (!node) this.nodes.set(path, (node = { path, running: new Set(), waiting: new Set(), done: 0, failed: 0 }));
    return node;
  }

  endTask(task) {
    for (const node of this.nodes.values()) {
      node.running.delete(task);
      node.waiting.delete(task);
    }
  }

  /** Marks the running and waiting nodes as halted. A resume makes them wait again. */
  haltNodes() {
    for (const node of this.nodes.values()) {
      if (node.running.size > 0 || node.waiting.size > 0) node.halted = true;
      node.running.clear();
    }
  }

  textItem(run, task, message) {
    const key = `text|${task}|${message}`;
    const item = run.item(key, () => ({ kind: 'text', task, text: '', reasoning: '', streaming: true }));
    const streamed = this.streamedTexts.get(`${run.id}|${key}`);
    if (streamed && item.streaming) Object.assign(item, streamed);
    return item;
  }

  appendText(event, field) {
    const run = this.runOf(event.run);
    const item = this.textItem(run, event.task, event.data.message);
    if (!item.streaming) return;
    if (item[field].length < MAX_TEXT) item[field] += event.data.text;
    this.streamedTexts.set(`${run.id}|${item.key}`, { text: item.text, reasoning: item.reasoning });
  }

  call(event, key, fields) {
    const run = this.runOf(event.run);
    const name = `call|${event.task}|${key}`;
    const make = () => ({ kind: 'call', run: run.id, task: event.task, at: event.at });
    const shown = fields.type === 'tool' ? run.item(name, make) : { key: name, ...make() };
    let call = this.calls.get(`${run.id}|${name}`);
    if (!call) this.calls.set(`${run.id}|${name}`, (call = shown));
    return Object.assign(call, fields);
  }

  fold(event) {
    const { type, data, task, at, seq } = event;
    if (event.run !== undefined && type !== 'run_queued' && type !== 'run_dequeued') this.run = event.run;
    const run = () => this.runOf(event.run);
    switch (type) {
      case 'run_queued':
        run().status = 'queued';
        run().queued = at;
        if (!isActive(this.status)) this.status = 'queued';
        break;
      case 'run_dequeued':
        Object.assign(run(), { status: 'failed', failure: data });
        break;
      case 'run_started': {
        Object.assign(run(), { status: 'running', started: at, startSeq: seq });
        this.status = 'running';
        this.failure = undefined;
        if (data.graph) this.graph = data.graph;
        this.nodes = new Map();
        this.todos = new Map();
        this.questions = new Map();
        this.breakpoints = { before: data.break_before ?? [], after: data.break_after ?? [] };
        for (const node of data.next ?? []) this.node(node).due = true;
        break;
      }
      case 'run_resumed':
        Object.assign(run(), { status: 'running', failure: undefined });
        this.status = 'running';
        this.failure = undefined;
        for (const node of this.nodes.values()) node.halted = false;
        break;
      case 'run_paused':
        run().status = this.status = 'paused';
        break;
      case 'run_stopped':
        run().status = this.status = 'stopped';
        this.haltNodes();
        this.endTexts(run());
        break;
      case 'run_failed':
        Object.assign(run(), { status: 'failed', failure: data, endSeq: seq, ended: at });
        this.status = 'failed';
        this.failure = data;
        this.haltNodes();
        this.endTexts(run());
        break;
      case 'run_completed': {
        const done = run();
        Object.assign(done, { status: 'completed', endSeq: seq, ended: at, activeMs: data.active_ms });
        if (data.supersteps !== undefined) done.supersteps = data.supersteps;
        if (data.response !== undefined) this.exchanges.set(done.id, { ...this.exchanges.get(done.id), answer: data.response });
        this.status = 'completed';
        this.haltNodes();
        this.endTexts(done);
        break;
      }
      case 'run_rolled_back':
        run().status = this.status = 'stopped';
        run().rolledBack = true;
        this.haltNodes();
        break;
      case 'superstep_committed': {
        const prefix = task ? `${task}/` : '';
        const path = nodePath(prefix);
        for (const node of this.nodes.values()) if (!task && !data.committed) node.due = false;
        for (const next of data.next ?? []) this.node(path + next).due = true;
        break;
      }
      case 'node_started': {
        const node = this.node(task ?? data.node);
        node.running.add(task ?? data.node);
        node.due = node.halted = false;
        node.attempt = data.attempt;
        if (!isActive(this.status) && this.status !== 'paused') this.status = 'running';
        break;
      }
      case 'node_finished': {
        const node = this.node(task ?? data.node);
        this.endTask(task ?? data.node);
        node.done += 1;
        node.due = node.halted = false;
        this.endSubgraph(task);
        break;
      }
      case 'node_failed': {
        const node = this.node(task ?? data.node);
        node.running.delete(task);
        if (data.retry_in_ms === undefined && !data.handler) node.failed += 1;
        node.retrying = data.retry_in_ms !== undefined;
        run().item(`failed|${task}|${data.attempt}`, () => ({ kind: 'failed', task, at, ...data }));
        break;
      }
      case 'subgraph_started':
        this.node(task).running.add(task);
        for (const next of data.next ?? []) this.node(`${task}/${next}`).due = true;
        break;
      case 'tool_called':
        this.toolCalls.set(`${event.run}|${task}|${data.key}`, data);
        this.call(event, data.key, { type: 'tool', name: data.name, arguments: data.arguments, state: 'running' });
        break;
      case 'step_recorded':
        this.foldStep(event);
        break;
      case 'token':
        this.appendText(event, 'text');
        break;
      case 'reasoning':
        this.appendText(event, 'reasoning');
        break;
      case 'tool_arguments': {
        const item = run().item(`writing|${task}|${data.message}|${data.index}`, () => ({ kind: 'call', type: 'tool', message: `${task}|${data.message}`, task, at, name: data.name, arguments: '', state: 'running' }));
        if (item.arguments.length < MAX_TEXT) item.arguments += data.text;
        break;
      }
      case 'tokens_voided': {
        this.removeDrafts(run(), task, data.message);
        const key = `text|${task}|${data.message}`;
        this.streamedTexts.delete(`${run().id}|${key}`);
        const item = run().byKey.get(key);
        if (item?.streaming) Object.assign(item, { text: '', reasoning: '', voided: data.reason });
        break;
      }
      case 'question_asked': {
        const id = data.id;
        const until = data.until ?? (data.question.deadline && data.asked_at + data.question.deadline.secs * 1000);
        this.questions.set(id, { ...data, until, partial: event.partial && data.question.details === undefined });
        this.node(data.task).waiting.add(data.task);
        run().item(`question|${id}`, () => ({ kind: 'question', id, prompt: data.question.prompt, task: data.task, at }));
        break;
      }
      case 'question_answered': {
        this.closeQuestion(data.id, task);
        const item = run().item(`question|${data.id}`, () => ({ kind: 'question', id: data.id, task, at }));
        Object.assign(item, { answered: true, value: data.value, by: data.by });
        break;
      }
      case 'question_withdrawn': {
        this.closeQuestion(data.id, task);
        const item = run().byKey.get(`question|${data.id}`);
        if (item) item.withdrawn = true;
        break;
      }
      case 'todo_updated':
        this.todos.set(data.id, { ...this.todos.get(data.id), ...data });
        break;
      case 'progress':
      case 'custom':
        run().progress = { name: data.name, value: data.value };
        break;
      case 'session_forked':
        this.forked = data;
        break;
      case 'gap':
        if (data.unnumbered > 0) for (const item of run().items) if (item.kind === 'text' && item.streaming) item.hasGaps = true;
        break;
      default:
    }
  }

  /** Ends the tasks inside of a finished task. */
  endSubgraph(task) {
    const [path, inside] = [`${nodePath(task)}/`, `${task}/`];
    for (const node of this.nodes.values()) {
      if (!node.path.startsWith(path)) continue;
      for (const inner of node.running) if (inner.startsWith(inside)) node.running.delete(inner);
    }
  }

  closeQuestion(id, task) {
    const question = this.questions.get(id);
    this.questions.delete(id);
    const by = question?.task ?? task;
    if (by && ![...this.questions.values()].some(other => other.task === by)) this.node(by).waiting.delete(by);
  }

  endTexts(run) {
    for (const item of run.items) {
      if (item.kind === 'text') item.streaming = false;
      if (item.kind === 'call' && item.state === 'running') item.state = 'cut';
    }
  }

  foldStep(event) {
    const { task, data, at, seq } = event;
    const fields = { type: data.kind, ms: data.ms, error: data.error, seq, at, state: data.error ? 'failed' : 'done' };
    if (data.kind === 'tool') {
      const message = data.value?.message;
      const known = this.toolCalls.get(`${event.run}|${task}|${data.key}`) ?? this.requestedCall(event.run, message?.tool_call_id);
      if (data.value?.fault) fields.state = 'failed';
      this.call(event, data.key, {
        ...fields, name: known?.name ?? message?.name ?? data.key.replace(/^tool:/, ''), arguments: known?.arguments,
        result: message ? plainText(message.content) : data.value, fault: data.value?.fault ?? undefined,
      });
      return;
    }
    this.call(event, data.key, { ...fields, name: data.key, result: data.value });
    if (data.kind !== 'model') return;
    const message = data.value?.message ?? data.value?.reply?.message;
    if (!message) return;
    for (const call of message.tool_calls ?? []) this.toolCalls.set(`${event.run}|id|${call.id}`, call);
    const run = this.runOf(event.run);
    this.removeDrafts(run, task, data.key);
    const text = plainText(message.content);
    const known = run.byKey.get(`text|${task}|${data.key}`);
    if (text || known) {
      Object.assign(this.textItem(run, task, data.key), { text, streaming: false, hasGaps: false, seq });
    }
    this.streamedTexts.delete(`${run.id}|text|${task}|${data.key}`);
  }

  /** Removes the tool calls that a model was writing: they are complete, or void. */
  removeDrafts(run, task, message) {
    const drafts = run.items.filter(item => item.message === `${task}|${message}`);
    for (const item of drafts) run.byKey.delete(item.key);
    if (drafts.length > 0) run.items = run.items.filter(item => !drafts.includes(item));
  }

  requestedCall(run, id) {
    const call = id && this.toolCalls.get(`${run}|id|${id}`);
    if (!call) return undefined;
    let args = call.arguments;
    if (typeof args === 'string') {
      try {
        args = JSON.parse(args);
      } catch {
        // shown as the model wrote it
      }
    }
    return { name: call.name, arguments: args };
  }

  /** Where the latest run pauses around a node: `before`, `after` or both. */
  breakpointsOf(path) {
    return ['before', 'after'].filter(side => this.breakpoints[side].includes(path));
  }

  /** The status of a node of the graph. */
  nodeState(path) {
    const node = this.nodes.get(path);
    if (!node) return { state: 'idle', done: 0, running: 0 };
    const running = node.running.size;
    const active = isActive(this.status);
    const state = node.waiting.size > 0 && (active || this.status === 'paused') ? 'waiting'
      : running > 0 && (active || this.status === 'paused') ? (node.retrying ? 'retrying' : 'running')
      : node.failed > 0 && this.status === 'failed' ? 'failed'
      : node.halted ? 'halted'
      : node.due && active ? 'running'
      : node.done > 0 ? 'done'
      : node.due && this.status === 'stopped' ? 'halted' : 'idle';
    return { state, done: node.done, running, failed: node.failed };
  }
}
