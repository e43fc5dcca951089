// The page: which session is looked at, and what happens when something is pressed.

import { api, onUnauthorized } from './api.js';
import { CallsView, ChatView } from './chat.js';
import { SessionView } from './session_view.js';
import { h, icon, setAttr, setText, soon } from './dom.js';
import { bytes, number, short, span } from './format.js';
import { GraphView } from './graph.js';
import { listen } from './shortcuts.js';
import { copy, failed, notice } from './toast.js';
import * as prefs from './prefs.js';
import { SessionsView } from './sessions.js';
import { isLive } from './session_model.js';
import { SchedulesView } from './schedules.js';
import { TimelineView } from './timeline.js';
import { TodosView } from './todos.js';
import { LANGUAGES, lang, setLang, t } from './i18n.js';

const at = id => document.getElementById(id);

const TABS = ['chat', 'calls', 'timeline', 'plan'];
const STATUSES = ['running', 'paused', 'completed', 'failed', 'stopped'];

let desk = new SessionView();
let tab = 'chat';

const draw = soon(drawAll);
const chat = new ChatView(at('chat'), { answer: answerQuestion, draw });
const calls = new CallsView(at('panel-calls'), draw);
const timeline = new TimelineView(at('panel-timeline'), { older: upto => desk.older(upto).then(drawAll, failed), fork: seq => fork(seq) });
const todos = new TodosView(at('todos'), at('todo-sum'));
const graph = new GraphView(at('graph'));
const schedules = new SchedulesView(at('schedules-dialog'), { failed, agents: () => agents });
const sessions = new SessionsView(
  { list: at('session-list'), more: at('session-more'), note: at('session-note'), search: at('search'), filter: at('filter') },
  { listed, failed });

// ---- which session

/** The list was looked at again; what is gone from it may be gone from the server. */
function listed(fault) {
  drawLink();
  if (!fault && desk.id !== undefined && sessions.lost(desk.id)) desk.reconcile();
}

function go(id, where = 'chat') {
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
  if (id !== desk.id || !desk.shown) open(id);
}

/** Shows another session. `message`: the first message of a session that does not exist yet. */
function open(id, message) {
  desk.end();
  sessions.choose(id);
  chat.reset();
  calls.reset();
  timeline.reset(id);
  desk = new SessionView(id, message, {
    draw,
    link: drawLink,
    graph: () => graph.show(desk.graph),
    reopen: () => open(id),
    refused: text => notice(text, 'error'),
    stateAt: seq => timeline.stateAt(seq),
    asked: prompt => setText(at('announce'), `${t('question.one')}: ${prompt}`),
    moved: status => {
      sessions.touch(id, { status, questions: desk.story.questions.size });
      setText(at('announce'), t(`status.${status}`));
    },
  });
  desk.shown = true;
  graph.show(id === undefined ? null : undefined);
  drawAll();
}

// ---- what is shown

function drawAll() {
  const { id, story } = desk;
  const none = id === undefined;
  document.body.classList.toggle('no-session', none);
  at('welcome').hidden = !none && !desk.fault;
  at('chat').hidden = Boolean(desk.missing);
  drawWelcome();
  drawHead();
  const runs = chat.draw(story, desk.pending);
  if (!none && !desk.standing) {
    desk.words(runs);
    if (sessions.known.has(id) && story.status) sessions.touch(id, { questions: story.questions.size });
  }
  if (tab === 'calls') calls.draw(story);
  if (tab === 'timeline') timeline.draw(story);
  todos.draw(story.todos);
  graph.light(story);
  drawUsage();
  drawBackground();
  drawLink();
}

/** What this session started in the background, or what started it. */
function drawBackground() {
  const one = sessions.known.get(desk.id);
  const link = id => h('a', { class: 'mono', href: `#/s/${encodeURIComponent(id)}` }, id);
  const started = [...sessions.known.values()].filter(other => desk.id !== undefined && other.started_by === desk.id);
  const rows = [
    one?.started_by && h('p', {}, t('background.of'), ' ', link(one.started_by)),
    one?.scheduled_by && h('p', {}, t('scheduled.by'), ' ', h('span', { class: 'mono' }, one.scheduled_by)),
    ...started.map(other => h('p', { data: { status: other.status } }, h('span', { class: 'dot', 'aria-hidden': 'true' }), ' ', link(other.session_id), ' ', h('span', { class: 'faint' }, t(`status.${other.status}`)))),
  ].filter(Boolean);
  const stamp = `${lang()}|${desk.id}|${one?.started_by}|${one?.scheduled_by}|${started.map(other => [other.session_id, other.status])}`;
  const box = at('background');
  box.parentElement.hidden = rows.length === 0;
  if (box.dataset.stamp === stamp) return;
  box.dataset.stamp = stamp;
  box.replaceChildren(...rows);
}

function drawHead() {
  const { id, story } = desk;
  const status = id === undefined ? undefined : desk.missing ? undefined : story.status;
  setText(at('session-id'), id ?? t('new.title'));
  document.title = id === undefined ? 'agent-core' : `${status === 'paused' ? '(?) ' : ''}${id} · agent-core`;
  at('copy-id').hidden = id === undefined;
  setAttr(at('session-head'), 'data-status', status ?? 'none');
  at('status').hidden = !status;
  setText(at('status'), status ? t(`status.${status}`) : '');
  const run = story.run ? t('run.number', { number: story.run }) : '';
  setText(at('figures'), [run, story.seconds > 0 && !isLive(status) && span(story.seconds * 1000)].filter(Boolean).join(' · '));
  const known = id !== undefined && !desk.missing && status !== undefined;
  at('stop').disabled = !known || !(isLive(status) || status === 'paused') || desk.doing;
  at('resume').disabled = !known || !['stopped', 'failed', 'interrupted'].includes(status) || desk.doing;
  at('fork').disabled = at('delete').disabled = !known || desk.doing;
  at('mermaid').disabled = !desk.graph?.mermaid;
  at('enlarge').disabled = !desk.graph?.nodes?.length;
  at('busy').hidden = !(known && (isLive(status) || status === 'paused'));
  // A session continues with its agent unless another is selected.
  if (desk.offered !== story.agent && agents.some(one => one.name === story.agent)) at('agent').value = desk.offered = story.agent;
  setAttr(at('message'), 'placeholder', t(known ? 'composer.more' : 'composer.first'));
}

function drawWelcome() {
  const box = at('welcome');
  const kind = desk.fault ? `fault|${desk.fault.message}` : `new|${lang()}|${(desk.agents ?? agents).map(one => one.name)}`;
  if (box.dataset.kind === kind) return;
  box.dataset.kind = kind;
  if (desk.fault) {
    box.replaceChildren(h('div', { class: 'welcome' }, h('h2', {}, t(desk.missing ? 'missing' : 'fault')), h('p', { role: 'alert' }, desk.fault.message)));
    return;
  }
  const examples = agents.length === 0 || agents.some(one => one.name === 'trend') ? [t('example.1'), t('example.2'), t('example.3')] : [];
  box.replaceChildren(h('div', { class: 'welcome' }, h('h2', {}, t('welcome')), h('p', {}, t('welcome.words')), h('div', { class: 'examples' }, examples.map(text => h('button', { type: 'button', on: { click: () => {
    at('message').value = text;
    at('composer').requestSubmit();
  } } }, text)))));
}

function drawUsage() {
  const { usage = {}, sizes, agent } = desk.story;
  const rows = [
    agent && ['usage.agent', agent],
    usage?.model_calls !== undefined && ['usage.model_calls', number(usage.model_calls)],
    usage?.tool_calls !== undefined && ['usage.tool_calls', number(usage.tool_calls)],
    (usage?.input_tokens || usage?.output_tokens) && ['usage.tokens', `${short(usage.input_tokens)} → ${short(usage.output_tokens)}`],
    usage?.cost_micros > 0 && ['usage.cost', `$${(usage.cost_micros / 1e6).toFixed(4)}`],
    sizes && ['usage.journal', `${number(sizes.entries)} · ${bytes(sizes.bytes ?? (sizes.journal_bytes ?? 0) + (sizes.snapshot_bytes ?? 0))}`],
  ].filter(Boolean);
  const stamp = `${lang()}|${rows}`;
  if (at('usage').dataset.stamp === stamp) return;
  at('usage').dataset.stamp = stamp;
  at('usage').replaceChildren(...rows.flatMap(([name, value]) => [h('dt', {}, t(name)), h('dd', {}, value)]));
  if (rows.length === 0) at('usage').append(h('dt', {}, '—'), h('dd', {}));
}

function drawLink() {
  const state = sessions.fault?.status === 401 ? 'locked' : sessions.fault?.code === 'unreachable' ? 'lost' : desk.polled && desk.link !== 'open' ? 'polling' : desk.link ?? (sessions.fault ? 'lost' : sessions.looked ? 'open' : 'connecting');
  setAttr(at('link'), 'data-link', state);
  setText(at('link'), t(`link.${state}`));
}

function showTab(name) {
  if (name === 'plan' && getComputedStyle(at('tab-plan')).display === 'none') name = 'chat';
  tab = name;
  for (const one of TABS) {
    const chosen = one === name;
    setAttr(at(`tab-${one}`), 'aria-selected', String(chosen));
    at(`tab-${one}`).tabIndex = chosen ? 0 : -1;
    if (one !== 'plan') at(`panel-${one}`).hidden = !chosen;
  }
  document.body.dataset.tab = name;
  draw();
}

// ---- what is done

/** Runs `work` with the buttons disabled and shows its error. */
async function doing(work) {
  const mine = desk;
  mine.doing = true;
  draw();
  try {
    return await work(mine);
  } catch (error) {
    if (error.status === 404) mine.reconcile();
    failed(error);
    return undefined;
  } finally {
    mine.doing = false;
    draw();
  }
}

const stop = () => doing(mine => api.stop(mine.id)).then(() => desk.reconcile());
const resume = () => doing(mine => api.resume(mine.id)).then(() => desk.reconcile());

async function fork(seq) {
  const made = await doing(mine => api.fork(mine.id, seq));
  if (!made) return;
  notice(t('forked', { id: made.session_id }));
  sessions.look();
  go(made.session_id);
}

async function remove() {
  const { id } = desk;
  if (!(await sure(t('delete.sure', { id }), t('delete')))) return;
  const done = await doing(async mine => {
    await api.remove(mine.id);
    return true;
  });
  if (!done) return;
  notice(t('deleted', { id }));
  sessions.forget(id);
  go(undefined);
}

function sure(question, yes) {
  const dialog = at('sure-dialog');
  setText(at('sure-words'), question);
  setText(at('sure-yes'), yes);
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }));
}

async function answerQuestion(id, value) {
  const mine = desk;
  await api.answer(mine.id, id, value);
  mine.story.questions.delete(id);
  draw();
}

async function send() {
  const message = at('message').value.trim();
  if (!message || desk.sending) return;
  const id = desk.missing ? undefined : desk.id;
  if (!at('busy').hidden && at('busy').value === 'steer') return steer(message);
  const body = { message, session_id: id ?? newSession() };
  if (!at('agent').hidden) body.agent = at('agent').value;
  if (!at('busy').hidden) body.on_busy = at('busy').value;
  at('message').value = '';
  if (id === undefined) {
    open(body.session_id, message);
    go(body.session_id);
  }
  const mine = desk;
  mine.sending = true;
  mine.pending = message;
  draw();
  try {
    if (id === undefined) await mine.linked();
    const answer = await api.start(body);
    // A status received over the socket is newer than this response.
    const received = mine.story.run === answer.data?.run ? mine.story.status : undefined;
    sessions.touch(answer.session_id, { status: received ?? (answer.status === 'started' ? 'running' : answer.status), at: Date.now(), ...(body.agent ? { agent: body.agent } : {}) });
    if (mine !== desk) return;
    if (mine.live) mine.live.now();
    else mine.begin();
  } catch (error) {
    if (mine === desk) {
      mine.pending = undefined;
      if (!at('message').value) at('message').value = message;
      if (id === undefined) go(undefined);
    }
    failed(error);
  } finally {
    mine.sending = false;
    draw();
  }
}

/** Gives a message to the agent at work, without a new run. */
async function steer(message) {
  at('message').value = '';
  const done = await doing(async mine => {
    await api.steer(mine.id, message);
    return true;
  });
  if (done) notice(t('steered'));
  else if (!at('message').value) at('message').value = message;
}

/** As the server names sessions. */
function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `s-${[...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('')}`;
}

let dismissed = false;

/** Asks for the API key. Without a click (`said`: the reason) only once, since closing the dialog declines it. */
function askKey(said) {
  const dialog = at('key-dialog');
  if (dialog.open || (said !== undefined && dismissed)) return;
  at('key-value').value = '';
  keyProblem(said !== undefined && prefs.bearer() ? t('key.refused') : '');
  at('key-forget').disabled = !prefs.bearer();
  dialog.showModal();
}

function keyProblem(words) {
  setText(at('key-problem'), words);
  setAttr(at('key-value'), 'aria-invalid', words ? 'true' : null);
}

function useKey(value) {
  // Others fit into no header: nothing could be sent at all.
  if (value !== null && !/^[\x21-\x7e]+$/.test(value)) {
    keyProblem(t('key.odd'));
    return;
  }
  prefs.setBearer(value);
  at('key-dialog').close();
  dismissed = false;
  drawKey();
  sessions.restart();
  loadAgents();
  open(desk.id);
}

const drawKey = () => setAttr(at('key'), 'data-set', prefs.bearer() ? 'yes' : null);

// ---- keys

/** Key, name, what it does; without: it is done elsewhere. */
const SHORTCUTS = [
  ['?', 'help', () => at('help-dialog').showModal()],
  ['n', 'keys.new', () => {
    go(undefined);
    at('message').focus();
  }],
  ['m', 'keys.message', () => at('message').focus()],
  ['/', 'keys.search', () => {
    showMenu(true);
    at('search').focus();
  }],
  ['j', 'keys.next', () => step(1)],
  ['k', 'keys.previous', () => step(-1)],
  ['c', 'tab.chat', () => go(desk.id, 'chat')],
  ['o', 'tab.calls', () => go(desk.id, 'calls')],
  ['v', 'tab.timeline', () => {
    go(desk.id, 'timeline');
    afterDrawing(() => at('journal').focus());
  }],
  ['q', 'keys.question', () => {
    go(desk.id, 'chat');
    afterDrawing(() => document.querySelector('.question .option, .question textarea, .question input, .question select, .question .primary')?.focus());
  }],
  ['1–9', 'keys.option', undefined],
  ['s', 'stop', () => at('stop').disabled || stop()],
  ['r', 'resume', () => at('resume').disabled || resume()],
  ['b', 'keys.mark', () => tab === 'timeline' && timeline.setMark()],
  ['d', 'keys.compare', () => tab === 'timeline' && timeline.compare()],
  ['f', 'keys.fork', () => {
    if (tab === 'timeline' && timeline.chosen) timeline.forkHere();
    else if (!at('fork').disabled) fork();
  }],
  ['t', 'theme', () => at('theme').click()],
  ['l', 'language', () => at('lang').click()],
  ['Esc', 'keys.leave', undefined],
];

const afterDrawing = work => requestAnimationFrame(() => requestAnimationFrame(work));

function step(by) {
  const id = sessions.beside(by);
  if (id !== undefined) go(id, tab === 'plan' ? 'chat' : tab);
}

function option(number, from) {
  const card = from.closest?.('.question') ?? document.querySelector('.question');
  return tab === 'chat' ? card?.querySelectorAll('.option')[number - 1] : undefined;
}

function escape() {
  const inside = document.body.classList.contains('menu-open') && at('sessions').contains(document.activeElement) && at('menu').offsetParent;
  showMenu(false);
  if (inside) at('menu').focus();
  else document.activeElement?.blur?.();
}

/** The list of sessions, on screens without room for it. */
function showMenu(open) {
  document.body.classList.toggle('menu-open', open);
  setAttr(at('menu'), 'aria-expanded', String(open));
}

function onTabKey(event) {
  const shown = TABS.filter(one => at(`tab-${one}`).offsetParent !== null);
  const here = shown.indexOf(tab);
  const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: shown.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const name = shown[(to + shown.length) % shown.length];
  if (desk.id === undefined) showTab(name);
  else go(desk.id, name);
  at(`tab-${name}`).focus();
}

// ---- words and looks

function writeWords() {
  document.documentElement.lang = lang();
  for (const element of document.querySelectorAll('[data-words]')) setText(element, t(element.dataset.words));
  for (const element of document.querySelectorAll('[data-label]')) {
    setAttr(element, 'aria-label', t(element.dataset.label));
    if (element.matches('button')) setAttr(element, 'title', t(element.dataset.label));
  }
  for (const element of document.querySelectorAll('[data-placeholder]')) setAttr(element, 'placeholder', t(element.dataset.placeholder));
  const other = LANGUAGES.find(([code]) => code !== lang());
  at('lang').replaceChildren(other[1]);
  setAttr(at('lang'), 'lang', other[0]);
  setAttr(at('lang'), 'aria-label', `${other[1]} (${t('language')})`);
  writeTheme();
  at('help').replaceChildren('?');
  at('key').replaceChildren(icon('key'));
  at('schedules').replaceChildren(icon('clock'));
  at('menu').replaceChildren(icon('menu'));
  at('send').replaceChildren(icon('send'));
  at('copy-id').replaceChildren(icon('copy'));
  at('new').replaceChildren(icon('plus'), t('new'));
  at('stop').replaceChildren(icon('stop'), t('stop'));
  at('resume').replaceChildren(icon('play'), t('resume'));
  at('fork').replaceChildren(icon('fork'), t('fork'));
  at('delete').replaceChildren(icon('trash'), t('delete'));
  choices(at('filter'), [['', t('sessions.all')], ...STATUSES.map(status => [status, t(`status.${status}`)])]);
  choices(at('busy'), ['enqueue', 'steer', 'reject', 'interrupt', 'rollback'].map(policy => [policy, t(`busy.${policy}`)]));
  at('keys').replaceChildren(...SHORTCUTS.map(([key, name]) => h('div', {}, h('dt', {}, h('kbd', {}, key)), h('dd', {}, t(name)))));
}

function writeTheme() {
  at('theme').replaceChildren(icon('sun'), t(`theme.${prefs.theme()}`));
  setAttr(at('theme'), 'aria-label', `${t('theme')}: ${t(`theme.${prefs.theme()}`)}`);
}

function choices(select, options) {
  const { value } = select;
  select.replaceChildren(...options.map(([code, label]) => h('option', { value: code }, label)));
  if (options.some(([code]) => code === value)) select.value = value;
}

function relabel() {
  writeWords();
  chat.reset();
  calls.reset();
  timeline.words();
  at('session-list').replaceChildren();
  at('todos').querySelector('.todos').replaceChildren();
  sessions.draw();
  graph.show(desk.id === undefined ? null : desk.graph);
  drawAll();
}

let agents = [];
async function loadAgents() {
  try {
    agents = (await api.agents()).agents ?? [];
  } catch {
    agents = []; // the server's default answers
  }
  choices(at('agent'), agents.map(one => [one.name, one.name]));
  at('agent').hidden = agents.length < 2;
  drawAll();
}

// ---- from here on it lives

at('composer').addEventListener('submit', event => {
  event.preventDefault();
  send();
});
at('message').addEventListener('keydown', event => {
  // While a Korean syllable is put together, Enter belongs to the keyboard.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
});
at('stop').addEventListener('click', stop);
at('resume').addEventListener('click', resume);
at('fork').addEventListener('click', () => fork());
at('delete').addEventListener('click', remove);
at('copy-id').addEventListener('click', () => copy(desk.id));
at('enlarge').addEventListener('click', () => graph.enlarge(at('graph-dialog'), () => desk.story));
at('mermaid').addEventListener('click', () => desk.graph?.mermaid && copy(desk.graph.mermaid));
at('schedules').addEventListener('click', () => schedules.open());
at('help').addEventListener('click', () => at('help-dialog').showModal());
at('key').addEventListener('click', () => askKey());
at('key-form').addEventListener('submit', event => {
  event.preventDefault();
  if (at('key-value').value.trim()) useKey(at('key-value').value.trim());
});
at('key-forget').addEventListener('click', () => useKey(null));
at('key-close').addEventListener('click', () => {
  dismissed = true;
  at('key-dialog').close();
});
at('key-dialog').addEventListener('cancel', () => (dismissed = true));
at('theme').addEventListener('click', () => {
  prefs.setTheme({ auto: 'light', light: 'dark', dark: 'auto' }[prefs.theme()]);
  writeTheme();
});
at('lang').addEventListener('click', () => {
  setLang(LANGUAGES.find(([code]) => code !== lang())[0]);
  relabel();
});
at('menu').addEventListener('click', () => showMenu(!document.body.classList.contains('menu-open')));
document.addEventListener('pointerdown', event => {
  if (!at('sessions').contains(event.target) && !at('menu').contains(event.target)) showMenu(false);
});
at('tabs').addEventListener('click', event => {
  const name = event.target.closest('[data-tab]')?.dataset.tab;
  if (!name) return;
  if (desk.id === undefined) showTab(name);
  else go(desk.id, name);
});
at('tabs').addEventListener('keydown', onTabKey);
at('shortcuts').checked = prefs.remembered('shortcuts') !== 'off';
at('shortcuts').addEventListener('change', () => prefs.remember('shortcuts', at('shortcuts').checked ? null : 'off'));
listen(SHORTCUTS, { escape, option });
window.addEventListener('hashchange', route);
onUnauthorized(askKey);
setInterval(() => {
  if (document.hidden) return;
  sessions.draw();
  if (desk.story.questions.size > 0 || isLive(desk.story.status)) draw();
}, 1_000);

prefs.applyTheme();
writeWords();
drawKey();
loadAgents();
sessions.look();
route();
