// The page: the open session, its views, and the commands.

import { api, onUnauthorized } from './api.js';
import { CallsView, ChatView } from './chat.js';
import { SessionView } from './session_view.js';
import { h, icon, setAttr, setText, onNextFrame } from './dom.js';
import { bytes, number, short, span } from './format.js';
import { GraphView } from './graph.js';
import { listen } from './shortcuts.js';
import { copy, showError, notice } from './toast.js';
import * as prefs from './prefs.js';
import { SessionsView } from './sessions.js';
import { isActive } from './session_model.js';
import { SchedulesView } from './schedules.js';
import { TimelineView } from './timeline.js';
import { TodosView } from './todos.js';
import { LANGUAGES, lang, setLang, t } from './i18n.js';

const byId = id => document.getElementById(id);

const TABS = ['chat', 'calls', 'timeline', 'plan'];
const STATUSES = ['running', 'paused', 'completed', 'failed', 'stopped'];

let view = new SessionView();
let tab = 'chat';

const draw = onNextFrame(drawAll);
const chat = new ChatView(byId('chat'), { answer: answerQuestion, draw });
const calls = new CallsView(byId('panel-calls'), draw);
const timeline = new TimelineView(byId('panel-timeline'), { older: upto => view.loadOlder(upto).then(drawAll, showError), fork: seq => fork(seq) });
const todos = new TodosView(byId('todos'), byId('todo-sum'));
const graph = new GraphView(byId('graph'));
const schedules = new SchedulesView(byId('schedules-dialog'), { failed: showError, agents: () => agents });
const sessions = new SessionsView(
  { list: byId('session-list'), more: byId('session-more'), note: byId('session-note'), search: byId('search'), filter: byId('filter') },
  { refreshed: onSessionsRefreshed, failed: showError });

// ---- navigation

/** Handles a new list of sessions. A session that is no longer in it may have been deleted. */
function onSessionsRefreshed(fault) {
  drawConnection();
  drawBackground();
  if (!fault && view.id !== undefined && sessions.wasDeleted(view.id)) view.reconcile();
}

function navigate(id, where = 'chat') {
  location.hash = id === undefined ? '#/new' : `#/s/${encodeURIComponent(id)}${where === 'chat' ? '' : `/${where}`}`;
}

function route() {
  const found = /^#\/s\/([^/]+)(?:\/(\w+))?$/.exec(location.hash);
  let id;
  try {
    id = found ? decodeURIComponent(found[1]) : undefined;
  } catch {
    id = undefined;
  }
  showTab(TABS.includes(found?.[2]) ? found[2] : 'chat');
  showMenu(false);
  if (id !== view.id || !view.opened) openSession(id);
}

/** Opens another session. `message`: the first message of a session that does not exist yet. */
function openSession(id, message) {
  view.close();
  sessions.select(id);
  chat.reset();
  calls.reset();
  timeline.reset(id);
  view = new SessionView(id, message, {
    draw,
    connection: drawConnection,
    graphLoaded: () => graph.show(view.graph),
    reopen: () => openSession(id),
    rejected: text => notice(text, 'error'),
    stateAt: seq => timeline.stateAt(seq),
    questionAsked: prompt => setText(byId('announce'), `${t('question.one')}: ${prompt}`),
    statusChanged: status => {
      sessions.patch(id, { status, questions: view.model.questions.size });
      setText(byId('announce'), t(`status.${status}`));
    },
  });
  view.opened = true;
  graph.show(id === undefined ? null : undefined);
  drawAll();
}

// ---- drawing

function drawAll() {
  const { id, model } = view;
  const none = id === undefined;
  document.body.classList.toggle('no-session', none);
  byId('welcome').hidden = !none && !view.fault;
  byId('chat').hidden = Boolean(view.missing);
  drawWelcome();
  drawHead();
  const runs = chat.draw(model, view.pending);
  if (!none && !view.pendingStatus) {
    view.loadExchanges(runs);
    if (sessions.byId.has(id) && model.status) sessions.patch(id, { questions: model.questions.size });
  }
  if (tab === 'calls') calls.draw(model);
  if (tab === 'timeline') timeline.draw(model);
  todos.draw(model.todos);
  graph.markNodes(model);
  drawUsage();
  drawBackground();
  drawConnection();
}

/** Draws the sessions that this one started in the background, and the one that started it. */
function drawBackground() {
  const one = sessions.byId.get(view.id);
  const link = id => h('a', { class: 'mono', href: `#/s/${encodeURIComponent(id)}` }, id);
  const started = [...sessions.byId.values()].filter(other => view.id !== undefined && other.started_by === view.id);
  const rows = [
    one?.started_by && h('p', {}, t('background.of'), ' ', link(one.started_by)),
    one?.scheduled_by && h('p', {}, t('scheduled.by'), ' ', h('span', { class: 'mono' }, one.scheduled_by)),
    ...started.map(other => h('p', { data: { status: other.status } }, h('span', { class: 'dot', 'aria-hidden': 'true' }), ' ', link(other.session_id), ' ', h('span', { class: 'faint' }, t(`status.${other.status}`)))),
  ].filter(Boolean);
  const stamp = `${lang()}|${view.id}|${one?.started_by}|${one?.scheduled_by}|${started.map(other => [other.session_id, other.status])}`;
  const box = byId('background');
  box.parentElement.hidden = rows.length === 0;
  if (box.dataset.stamp === stamp) return;
  box.dataset.stamp = stamp;
  box.replaceChildren(...rows);
}

function drawHead() {
  const { id, model } = view;
  const status = id === undefined ? undefined : view.missing ? undefined : model.status;
  setText(byId('session-id'), id ?? t('new.title'));
  document.title = id === undefined ? 'agent-core' : `${status === 'paused' ? '(?) ' : ''}${id} · agent-core`;
  byId('copy-id').hidden = id === undefined;
  setAttr(byId('session-head'), 'data-status', status ?? 'none');
  byId('status').hidden = !status;
  setText(byId('status'), status ? t(`status.${status}`) : '');
  const run = model.run ? t('run.number', { number: model.run }) : '';
  setText(byId('figures'), [run, model.activeSeconds > 0 && !isActive(status) && span(model.activeSeconds * 1000)].filter(Boolean).join(' · '));
  const known = id !== undefined && !view.missing && status !== undefined;
  byId('stop').disabled = !known || !(isActive(status) || status === 'paused') || view.busy;
  byId('resume').disabled = !known || !['stopped', 'failed', 'interrupted'].includes(status) || view.busy;
  byId('fork').disabled = byId('delete').disabled = !known || view.busy;
  byId('mermaid').disabled = !view.graph?.mermaid;
  byId('enlarge').disabled = !view.graph?.nodes?.length;
  byId('busy').hidden = !(known && (isActive(status) || status === 'paused'));
  // A session continues with its agent unless another is selected.
  if (view.shownAgent !== model.agent && agents.some(one => one.name === model.agent)) byId('agent').value = view.shownAgent = model.agent;
  setAttr(byId('message'), 'placeholder', t(known ? 'composer.more' : 'composer.first'));
}

function drawWelcome() {
  const box = byId('welcome');
  const kind = view.fault ? `fault|${view.fault.message}` : `new|${lang()}|${(view.agents ?? agents).map(one => one.name)}`;
  if (box.dataset.kind === kind) return;
  box.dataset.kind = kind;
  if (view.fault) {
    box.replaceChildren(h('div', { class: 'welcome' }, h('h2', {}, t(view.missing ? 'missing' : 'fault')), h('p', { role: 'alert' }, view.fault.message)));
    return;
  }
  const examples = agents.length === 0 || agents.some(one => one.name === 'trend') ? [t('example.1'), t('example.2'), t('example.3')] : [];
  box.replaceChildren(h('div', { class: 'welcome' }, h('h2', {}, t('welcome')), h('p', {}, t('welcome.words')), h('div', { class: 'examples' }, examples.map(text => h('button', { type: 'button', on: { click: () => {
    byId('message').value = text;
    byId('composer').requestSubmit();
  } } }, text)))));
}

function drawUsage() {
  const { usage = {}, sizes, agent } = view.model;
  const rows = [
    agent && ['usage.agent', agent],
    usage?.model_calls !== undefined && ['usage.model_calls', number(usage.model_calls)],
    usage?.tool_calls !== undefined && ['usage.tool_calls', number(usage.tool_calls)],
    (usage?.input_tokens || usage?.output_tokens) && ['usage.tokens', `${short(usage.input_tokens)} → ${short(usage.output_tokens)}`],
    usage?.cost_micros > 0 && ['usage.cost', `$${(usage.cost_micros / 1e6).toFixed(4)}`],
    sizes && ['usage.journal', `${number(sizes.entries)} · ${bytes(sizes.bytes ?? (sizes.journal_bytes ?? 0) + (sizes.snapshot_bytes ?? 0))}`],
  ].filter(Boolean);
  const stamp = `${lang()}|${rows}`;
  if (byId('usage').dataset.stamp === stamp) return;
  byId('usage').dataset.stamp = stamp;
  byId('usage').replaceChildren(...rows.flatMap(([name, value]) => [h('dt', {}, t(name)), h('dd', {}, value)]));
  if (rows.length === 0) byId('usage').append(h('dt', {}, '—'), h('dd', {}));
}

function drawConnection() {
  const state = sessions.lastError?.status === 401 ? 'locked' : sessions.lastError?.code === 'unreachable' ? 'lost' : view.polled && view.connection !== 'open' ? 'polling' : view.connection ?? (sessions.lastError ? 'lost' : sessions.loaded ? 'open' : 'connecting');
  setAttr(byId('link'), 'data-link', state);
  setText(byId('link'), t(`link.${state}`));
}

function showTab(name) {
  if (name === 'plan' && getComputedStyle(byId('tab-plan')).display === 'none') name = 'chat';
  tab = name;
  for (const one of TABS) {
    const chosen = one === name;
    setAttr(byId(`tab-${one}`), 'aria-selected', String(chosen));
    byId(`tab-${one}`).tabIndex = chosen ? 0 : -1;
    if (one !== 'plan') byId(`panel-${one}`).hidden = !chosen;
  }
  document.body.dataset.tab = name;
  draw();
}

// ---- commands

/** Runs `work` with the buttons disabled and shows its error. */
async function runCommand(work) {
  const target = view;
  target.busy = true;
  draw();
  try {
    return await work(target);
  } catch (error) {
    if (error.status === 404) target.reconcile();
    showError(error);
    return undefined;
  } finally {
    target.busy = false;
    draw();
  }
}

const stop = () => runCommand(target => api.stop(target.id)).then(() => view.reconcile());
const resume = () => runCommand(target => api.resume(target.id)).then(() => view.reconcile());

async function fork(seq) {
  const made = await runCommand(target => api.fork(target.id, seq));
  if (!made) return;
  notice(t('forked', { id: made.session_id }));
  sessions.refresh();
  navigate(made.session_id);
}

async function remove() {
  const { id } = view;
  if (!(await confirmDialog(t('delete.sure', { id }), t('delete')))) return;
  const done = await runCommand(async target => {
    await api.remove(target.id);
    return true;
  });
  if (!done) return;
  notice(t('deleted', { id }));
  sessions.remove(id);
  navigate(undefined);
}

function confirmDialog(question, yes) {
  const dialog = byId('sure-dialog');
  setText(byId('sure-words'), question);
  setText(byId('sure-yes'), yes);
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }));
}

async function answerQuestion(id, value) {
  const target = view;
  await api.answer(target.id, id, value);
  target.model.questions.delete(id);
  draw();
}

async function send() {
  const message = byId('message').value.trim();
  if (!message || view.sending) return;
  const id = view.missing ? undefined : view.id;
  if (!byId('busy').hidden && byId('busy').value === 'steer') return steer(message);
  const body = { message, session_id: id ?? newSession() };
  if (!byId('agent').hidden) body.agent = byId('agent').value;
  if (!byId('busy').hidden) body.on_busy = byId('busy').value;
  byId('message').value = '';
  if (id === undefined) {
    openSession(body.session_id, message);
    navigate(body.session_id);
  }
  const target = view;
  target.sending = true;
  target.pending = message;
  draw();
  try {
    if (id === undefined) await target.waitUntilConnected();
    const answer = await api.start(body);
    // A status received over the socket is newer than this response.
    const received = target.model.run === answer.data?.run ? target.model.status : undefined;
    sessions.patch(answer.session_id, { status: received ?? (answer.status === 'started' ? 'running' : answer.status), at: Date.now(), ...(body.agent ? { agent: body.agent } : {}) });
    if (target !== view) return;
    if (target.socket) target.socket.reconnectNow();
    else target.load();
  } catch (error) {
    if (target === view) {
      target.pending = undefined;
      if (!byId('message').value) byId('message').value = message;
      if (id === undefined) navigate(undefined);
    }
    showError(error);
  } finally {
    target.sending = false;
    draw();
  }
}

/** Steers the running agent with a message, without a new run. */
async function steer(message) {
  byId('message').value = '';
  const done = await runCommand(async target => {
    await api.steer(target.id, message);
    return true;
  });
  if (done) notice(t('steered'));
  else if (!byId('message').value) byId('message').value = message;
}

/** Returns a session id in the form of the server. */
function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `s-${[...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('')}`;
}

let keyDismissed = false;

/** Opens the dialog for the API key. Without a click (`reason` is set) only once, since closing the dialog declines it. */
function openKeyDialog(reason) {
  const dialog = byId('key-dialog');
  if (dialog.open || (reason !== undefined && keyDismissed)) return;
  byId('key-value').value = '';
  showKeyError(reason !== undefined && prefs.bearer() ? t('key.refused') : '');
  byId('key-forget').disabled = !prefs.bearer();
  dialog.showModal();
}

function showKeyError(words) {
  setText(byId('key-problem'), words);
  setAttr(byId('key-value'), 'aria-invalid', words ? 'true' : null);
}

function saveKey(value) {
  // Other characters are invalid in a header.
  if (value !== null && !/^[\x21-\x7e]+$/.test(value)) {
    showKeyError(t('key.odd'));
    return;
  }
  prefs.setBearer(value);
  byId('key-dialog').close();
  keyDismissed = false;
  drawKey();
  sessions.restart();
  loadAgents();
  openSession(view.id);
}

const drawKey = () => setAttr(byId('key'), 'data-set', prefs.bearer() ? 'yes' : null);

// ---- keyboard shortcuts

/** Key, name and command; without a command it is handled elsewhere. */
const SHORTCUTS = [
  ['?', 'help', () => byId('help-dialog').showModal()],
  ['n', 'keys.new', () => {
    navigate(undefined);
    byId('message').focus();
  }],
  ['m', 'keys.message', () => byId('message').focus()],
  ['/', 'keys.search', () => {
    showMenu(true);
    byId('search').focus();
  }],
  ['j', 'keys.next', () => selectNeighbor(1)],
  ['k', 'keys.previous', () => selectNeighbor(-1)],
  ['c', 'tab.chat', () => navigate(view.id, 'chat')],
  ['o', 'tab.calls', () => navigate(view.id, 'calls')],
  ['v', 'tab.timeline', () => {
    navigate(view.id, 'timeline');
    afterDraw(() => byId('journal').focus());
  }],
  ['q', 'keys.question', () => {
    navigate(view.id, 'chat');
    afterDraw(() => document.querySelector('.question .option, .question textarea, .question input, .question select, .question .primary')?.focus());
  }],
  ['1–9', 'keys.option', undefined],
  ['s', 'stop', () => byId('stop').disabled || stop()],
  ['r', 'resume', () => byId('resume').disabled || resume()],
  ['b', 'keys.mark', () => tab === 'timeline' && timeline.setMark()],
  ['d', 'keys.compare', () => tab === 'timeline' && timeline.compare()],
  ['f', 'keys.fork', () => {
    if (tab === 'timeline' && timeline.selected) timeline.forkHere();
    else if (!byId('fork').disabled) fork();
  }],
  ['t', 'theme', () => byId('theme').click()],
  ['l', 'language', () => byId('lang').click()],
  ['Esc', 'keys.leave', undefined],
];

const afterDraw = work => requestAnimationFrame(() => requestAnimationFrame(work));

function selectNeighbor(by) {
  const id = sessions.neighbor(by);
  if (id !== undefined) navigate(id, tab === 'plan' ? 'chat' : tab);
}

function option(number, from) {
  const card = from.closest?.('.question') ?? document.querySelector('.question');
  return tab === 'chat' ? card?.querySelectorAll('.option')[number - 1] : undefined;
}

function escape() {
  const inside = document.body.classList.contains('menu-open') && byId('sessions').contains(document.activeElement) && byId('menu').offsetParent;
  showMenu(false);
  if (inside) byId('menu').focus();
  else document.activeElement?.blur?.();
}

/** The list of sessions, on screens without room for it. */
function showMenu(open) {
  document.body.classList.toggle('menu-open', open);
  setAttr(byId('menu'), 'aria-expanded', String(open));
}

function onTabKey(event) {
  const shown = TABS.filter(one => byId(`tab-${one}`).offsetParent !== null);
  const here = shown.indexOf(tab);
  const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: shown.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const name = shown[(to + shown.length) % shown.length];
  if (view.id === undefined) showTab(name);
  else navigate(view.id, name);
  byId(`tab-${name}`).focus();
}

// ---- language and theme

function writeTexts() {
  document.documentElement.lang = lang();
  for (const element of document.querySelectorAll('[data-words]')) setText(element, t(element.dataset.words));
  for (const element of document.querySelectorAll('[data-label]')) {
    setAttr(element, 'aria-label', t(element.dataset.label));
    if (element.matches('button')) setAttr(element, 'title', t(element.dataset.label));
  }
  for (const element of document.querySelectorAll('[data-placeholder]')) setAttr(element, 'placeholder', t(element.dataset.placeholder));
  const other = LANGUAGES.find(([code]) => code !== lang());
  byId('lang').replaceChildren(other[1]);
  setAttr(byId('lang'), 'lang', other[0]);
  setAttr(byId('lang'), 'aria-label', `${other[1]} (${t('language')})`);
  writeTheme();
  byId('help').replaceChildren('?');
  byId('key').replaceChildren(icon('key'));
  byId('schedules').replaceChildren(icon('clock'));
  byId('menu').replaceChildren(icon('menu'));
  byId('send').replaceChildren(icon('send'));
  byId('copy-id').replaceChildren(icon('copy'));
  byId('new').replaceChildren(icon('plus'), t('new'));
  byId('stop').replaceChildren(icon('stop'), t('stop'));
  byId('resume').replaceChildren(icon('play'), t('resume'));
  byId('fork').replaceChildren(icon('fork'), t('fork'));
  byId('delete').replaceChildren(icon('trash'), t('delete'));
  setOptions(byId('filter'), [['', t('sessions.all')], ...STATUSES.map(status => [status, t(`status.${status}`)])]);
  setOptions(byId('busy'), ['enqueue', 'steer', 'reject', 'interrupt', 'rollback'].map(policy => [policy, t(`busy.${policy}`)]));
  byId('keys').replaceChildren(...SHORTCUTS.map(([key, name]) => h('div', {}, h('dt', {}, h('kbd', {}, key)), h('dd', {}, t(name)))));
}

function writeTheme() {
  byId('theme').replaceChildren(icon('sun'), t(`theme.${prefs.theme()}`));
  setAttr(byId('theme'), 'aria-label', `${t('theme')}: ${t(`theme.${prefs.theme()}`)}`);
}

function setOptions(select, options) {
  const { value } = select;
  select.replaceChildren(...options.map(([code, label]) => h('option', { value: code }, label)));
  if (options.some(([code]) => code === value)) select.value = value;
}

function applyLanguage() {
  writeTexts();
  chat.reset();
  calls.reset();
  timeline.writeTexts();
  byId('session-list').replaceChildren();
  byId('todos').querySelector('.todos').replaceChildren();
  sessions.draw();
  graph.show(view.id === undefined ? null : view.graph);
  drawAll();
}

let agents = [];
async function loadAgents() {
  try {
    agents = (await api.agents()).agents ?? [];
  } catch {
    agents = []; // the server's default answers
  }
  setOptions(byId('agent'), agents.map(one => [one.name, one.name]));
  byId('agent').hidden = agents.length < 2;
  drawAll();
}

// ---- start

byId('composer').addEventListener('submit', event => {
  event.preventDefault();
  send();
});
byId('message').addEventListener('keydown', event => {
  // While a Korean syllable is put together, Enter belongs to the keyboard.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
});
byId('stop').addEventListener('click', stop);
byId('resume').addEventListener('click', resume);
byId('fork').addEventListener('click', () => fork());
byId('delete').addEventListener('click', remove);
byId('copy-id').addEventListener('click', () => copy(view.id));
byId('enlarge').addEventListener('click', () => graph.enlarge(byId('graph-dialog'), () => view.model));
byId('mermaid').addEventListener('click', () => view.graph?.mermaid && copy(view.graph.mermaid));
byId('schedules').addEventListener('click', () => schedules.open());
byId('help').addEventListener('click', () => byId('help-dialog').showModal());
byId('key').addEventListener('click', () => openKeyDialog());
byId('key-form').addEventListener('submit', event => {
  event.preventDefault();
  if (byId('key-value').value.trim()) saveKey(byId('key-value').value.trim());
});
byId('key-forget').addEventListener('click', () => saveKey(null));
byId('key-close').addEventListener('click', () => {
  keyDismissed = true;
  byId('key-dialog').close();
});
byId('key-dialog').addEventListener('cancel', () => (keyDismissed = true));
byId('theme').addEventListener('click', () => {
  prefs.setTheme({ auto: 'light', light: 'dark', dark: 'auto' }[prefs.theme()]);
  writeTheme();
});
byId('lang').addEventListener('click', () => {
  setLang(LANGUAGES.find(([code]) => code !== lang())[0]);
  applyLanguage();
});
byId('menu').addEventListener('click', () => showMenu(!document.body.classList.contains('menu-open')));
document.addEventListener('pointerdown', event => {
  if (!byId('sessions').contains(event.target) && !byId('menu').contains(event.target)) showMenu(false);
});
byId('tabs').addEventListener('click', event => {
  const name = event.target.closest('[data-tab]')?.dataset.tab;
  if (!name) return;
  if (view.id === undefined) showTab(name);
  else navigate(view.id, name);
});
byId('tabs').addEventListener('keydown', onTabKey);
byId('shortcuts').checked = prefs.remembered('shortcuts') !== 'off';
byId('shortcuts').addEventListener('change', () => prefs.remember('shortcuts', byId('shortcuts').checked ? null : 'off'));
listen(SHORTCUTS, { escape, option });
window.addEventListener('hashchange', route);
onUnauthorized(openKeyDialog);
setInterval(() => {
  if (document.hidden) return;
  sessions.draw();
  if (view.model.questions.size > 0 || isActive(view.model.status)) draw();
}, 1_000);

prefs.applyTheme();
writeTexts();
drawKey();
loadAgents();
sessions.refresh();
route();
