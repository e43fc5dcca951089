// The page of a meeting: captures audio, shows the transcript, speakers, interventions and minutes.

const RATE = 24000;
const TEXTS = {
  ko: {
    app: '실시간 회의', dashboard: '대시보드', setup: '회의 설정', meetingId: '회의 ID', title: '제목(안건)', people: '참석자(쉼표로 구분)',
    spoken: '회의 언어', minutes: '예정 시간(분)', principles: '회의 원칙', join: '회의 참여', demo: '데모 보기', microphone: '마이크 켜기',
    microphoneOff: '마이크 끄기', file: '음성 파일 재생', end: '회의 종료', empty: '마이크를 켜거나 음성 파일을 재생하면 자막이 여기에 나타납니다.',
    interventions: '진행자 개입', actions: '할 일', minutesTitle: '회의록', download: 'Markdown 받기', noneYet: '아직 없습니다.',
    auto: '자동(목소리)', who: '말하는 사람', connected: '연결됨', reconnecting: '다시 연결하는 중', lost: '음성 인식을 사용할 수 없음',
    waiting: '대기 중인 음성 {s}초', dropped: '잃은 음성 {s}초', offline: '서버에 다시 연결하는 중…', ended: '회의가 끝났습니다', ending: '회의록을 쓰는 중…',
    noMicrophone: '마이크를 사용할 수 없습니다. 브라우저의 권한을 확인하세요.', badFile: '이 파일은 재생할 수 없습니다.', playing: '재생 중',
    correctText: '수정', correctSpeaker: '화자 바꾸기', sure: '확신도', demoTitle: '제품 출시', switchTo: 'English',
    off_topic: '주제 이탈', dominance: '발언 쏠림', time_over: '시간 초과', decision_without_owner: '담당자 없음', principle: '회의 원칙', unknown: '알 수 없음',
    speaker: '화자 {n}', ready: '준비됨', editText: '발언 내용을 고치세요', save: '저장', cancel: '취소', leave: '나가기',
    recent: '최근 회의', running: '진행 중', over: '종료', turns: '발언 {n}건', untitled: '제목 없는 회의', key: '접속 키', keyNeeded: '이 서버는 접속 키가 필요합니다.',
    unsent: '연결이 끊긴 동안 음성 {s}초를 잃었습니다.', otherClient: '다른 화면에서 음성을 보내고 있습니다. 여기서 말하려면 말하는 사람을 고르세요.',
    notConfigured: '음성 인식이 설정되지 않았습니다. OPENAI_API_KEY, REALTIME_API_URL, TRANSCRIPTION_URL 가운데 하나를 설정하거나 데모를 보세요.',
    unheard: '음성 인식에 실패했습니다.', storage: '회의를 저장할 수 없습니다.', busy: '서버가 바쁩니다. 잠시 후 다시 시도하세요.', refused: '요청을 처리할 수 없습니다: {error}',
    unknownPrinciple: '없는 회의 원칙입니다.', ended2: '이미 끝난 회의입니다.',
  },
  en: {
    app: 'Live meeting', dashboard: 'Dashboard', setup: 'Meeting', meetingId: 'Meeting ID', title: 'Title (agenda)', people: 'Participants (separated by commas)',
    spoken: 'Language spoken', minutes: 'Planned minutes', principles: 'Principles', join: 'Join', demo: 'Show the demo', microphone: 'Microphone on',
    microphoneOff: 'Microphone off', file: 'Play an audio file', end: 'End the meeting', empty: 'Turn on the microphone or play an audio file. The transcript appears here.',
    interventions: 'Moderator', actions: 'Action items', minutesTitle: 'Minutes', download: 'Get Markdown', noneYet: 'None yet.',
    auto: 'Automatic (voice)', who: 'Who speaks', connected: 'Connected', reconnecting: 'Reconnecting', lost: 'Transcription is not available',
    waiting: '{s} s of audio waiting', dropped: '{s} s of audio lost', offline: 'Reconnecting to the server…', ended: 'The meeting has ended', ending: 'Writing the minutes…',
    noMicrophone: 'The microphone cannot be used. Check the permissions of the browser.', badFile: 'This file cannot be played.', playing: 'Playing',
    correctText: 'Edit', correctSpeaker: 'Change speaker', sure: 'confidence', demoTitle: 'Product launch', switchTo: '한국어',
    off_topic: 'Off topic', dominance: 'One voice', time_over: 'Time over', decision_without_owner: 'No owner', principle: 'Principle', unknown: 'Unknown',
    speaker: 'Speaker {n}', ready: 'Ready', editText: 'Correct the text', save: 'Save', cancel: 'Cancel', leave: 'Leave',
    recent: 'Recent meetings', running: 'running', over: 'ended', turns: 'turns: {n}', untitled: 'Untitled meeting', key: 'Access key', keyNeeded: 'This server needs an access key.',
    unsent: '{s} s of audio were lost while the connection was down.', otherClient: 'Another screen sends audio. To speak from here, choose who speaks.',
    notConfigured: 'No transcription is configured. Set OPENAI_API_KEY, REALTIME_API_URL or TRANSCRIPTION_URL, or watch the demo.',
    unheard: 'The transcription failed.', storage: 'The meeting cannot be stored.', busy: 'The server is busy. Try again.', refused: 'The request was refused: {error}',
    unknownPrinciple: 'There is no such principle.', ended2: 'The meeting has ended already.',
  },
};

const $ = (id) => document.getElementById(id);
let language = localStorage.getItem('meeting.language') || (navigator.language.startsWith('ko') ? 'ko' : 'en');
const t = (key, values = {}) => (TEXTS[language][key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name]);

const meeting = {
  id: '', setup: null, socket: null, retry: 0, participants: [], turns: new Map(), partials: new Map(), speaker: null,
  phase: 'new', status: null, ending: false, actions: new Map(), steps: new Map(), interventions: [], minutes: null,
};
const sound = { context: null, stream: null, source: null, playing: false };
// Audio that waits for the connection: at most 60 s.
const unsent = { chunks: [], lost: 0, most: 600 };
// The key of this tab; the dashboard uses the same one.
let key = sessionStorage.getItem('key');
const headers = () => (key ? { authorization: `Bearer ${key}` } : {});

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function notice(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
  if (text) setTimeout(() => { if ($('notice').textContent === text) $('notice').hidden = true; }, 8000);
}

// ---- connection

function connect() {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const protocols = key ? ['agent.v1', `bearer.${key}`] : [];
  const socket = new WebSocket(`${scheme}://${location.host}/ws/meetings/${meeting.id}`, protocols);
  meeting.socket = socket;
  // The server sends what happened so far; nothing is kept of an earlier connection.
  let fresh = true;
  socket.onopen = () => {
    meeting.retry = 0;
    if (meeting.setup) send('start', meeting.setup);
    meeting.setup = null;
    if (meeting.speaker) send('speaker', { speaker: meeting.speaker });
    for (const chunk of unsent.chunks.splice(0)) socket.send(chunk);
    if (unsent.lost) notice(t('unsent', { s: unsent.lost / 10 }));
    unsent.lost = 0;
    render();
  };
  socket.onmessage = (event) => {
    if (fresh) {
      fresh = false;
      meeting.turns.clear(); meeting.partials.clear(); meeting.actions.clear(); meeting.interventions = [];
      $('transcript').replaceChildren();
    }
    const { type, data } = JSON.parse(event.data);
    receive[type]?.(data);
  };
  socket.onclose = () => {
    if (meeting.socket !== socket) return;
    meeting.socket = null;
    if (!meeting.id) return;
    meeting.retry += 1;
    render();
    setTimeout(() => meeting.id && !meeting.socket && connect(), Math.min(10000, 300 * 2 ** meeting.retry));
  };
}

/** Sends audio, or keeps it until the connection is back. */
function sendAudio(chunk) {
  if (meeting.phase === 'ended' || meeting.ending) return;
  if (isOpen()) { meeting.socket.send(chunk); return; }
  unsent.chunks.push(chunk);
  if (unsent.chunks.length > unsent.most) { unsent.chunks.shift(); unsent.lost += 1; }
}

const isOpen = () => meeting.socket?.readyState === WebSocket.OPEN;
function send(type, data = {}) {
  if (isOpen()) meeting.socket.send(JSON.stringify({ type, data }));
}

const receive = {
  ready(data) {
    meeting.participants = data.participants;
    meeting.phase = data.status;
    meeting.title = data.title;
    if (data.status === 'ended') { meeting.ending = false; stopSound(); }
    for (const turn of meeting.turns.values()) renderTurn(turn);
    render();
  },
  transcript_partial(data) {
    // An empty text: the utterance gets no transcript.
    if (data.text) meeting.partials.set(data.item_id, data.text); else meeting.partials.delete(data.item_id);
    renderPartial();
  },
  transcript(data) {
    meeting.partials.delete(data.item_id);
    meeting.turns.set(data.item_id, data);
    renderTurn(data);
    renderPartial();
  },
  intervention(data) {
    meeting.interventions.push(data);
    renderSide();
  },
  status(data) { meeting.status = data; render(); },
  todo_update(data) {
    if (data.todo_id.startsWith('action:') && data.status === 'cancelled') meeting.actions.delete(data.todo_id);
    else if (data.todo_id.startsWith('action:')) meeting.actions.set(data.todo_id, data);
    else meeting.steps.set(data.todo_id, data);
    renderSide();
  },
  minutes(data) { meeting.minutes = data; meeting.ending = false; renderSide(); },
  error(data) { notice(errorText(data)); },
};

function errorText({ error, details }) {
  const known = {
    audio_busy: 'otherClient', storage: 'storage', busy: 'busy', unknown_principle: 'unknownPrinciple', meeting_ended: 'ended2',
    transcription: error.includes('configured') ? 'notConfigured' : error.includes('utterance') ? 'unheard' : 'lost',
  }[details?.code];
  return known ? t(known) : t('refused', { error });
}

// ---- sound

async function openContext(rate = RATE) {
  if (!sound.context) {
    sound.context = new AudioContext(rate ? { sampleRate: rate } : {});
    if (!sound.context.audioWorklet) throw new Error('AudioWorklet is missing');
    await sound.context.audioWorklet.addModule('/meeting/capture.js');
  }
  await sound.context.resume();
  return sound.context;
}

function capture(context, source) {
  const node = new AudioWorkletNode(context, 'capture', { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }) => {
    const samples = new Int16Array(data);
    let peak = 0;
    for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
    $('level').style.setProperty('width', `${Math.min(100, Math.round(peak / 250))}%`);
    sendAudio(data);
  };
  source.connect(node);
  return node;
}

async function toggleMicrophone() {
  if (sound.stream) { stopSound(); return; }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true } });
    sound.stream = stream;
    try {
      sound.source = (await openContext()).createMediaStreamSource(stream);
    } catch {
      // Firefox has no sources of another rate than that of the microphone; the worklet converts.
      await sound.context?.close();
      sound.context = null;
      sound.source = (await openContext(0)).createMediaStreamSource(stream);
    }
    sound.node = capture(sound.context, sound.source);
  } catch {
    sound.stream?.getTracks().forEach((track) => track.stop());
    sound.stream = null;
    notice(t('noMicrophone'));
  }
  render();
}

function stopSound() {
  sound.stream?.getTracks().forEach((track) => track.stop());
  sound.source?.disconnect();
  if (sound.playing) sound.source?.stop();
  Object.assign(sound, { stream: null, source: null, playing: false });
  $('level').style.setProperty('width', '0');
  render();
}

async function play(bytes) {
  stopSound();
  try {
    const context = await openContext();
    const buffer = await context.decodeAudioData(bytes);
    const source = context.createBufferSource();
    source.buffer = buffer;
    sound.source = source;
    sound.playing = true;
    sound.node = capture(context, source);
    source.connect(context.destination);
    source.onended = () => {
      if (sound.source !== source) return;
      // Silence, so that the last utterance ends.
      for (let chunk = 0; chunk < 20; chunk += 1) sendAudio(new Int16Array(2400).buffer);
      stopSound();
    };
    source.start();
  } catch {
    notice(t('badFile'));
  }
  render();
}

// ---- view

const COLOURS = 8;
function nameOf(id) {
  if (!id) return t('unknown');
  const known = meeting.participants.find((person) => person.id === id);
  if (known) return known.name;
  const voice = /^speaker-(\d+)$/.exec(id);
  return voice ? t('speaker', { n: voice[1] }) : id;
}

function colourOf(id) {
  if (!id) return 'c0';
  let sum = 0;
  const place = meeting.participants.findIndex((person) => person.id === id);
  const voice = /^speaker-(\d+)$/.exec(id);
  if (place >= 0) sum = place;
  else if (voice) sum = Number(voice[1]) - 1;
  else for (const letter of id) sum += letter.codePointAt(0);
  return `c${1 + (sum % COLOURS)}`;
}

function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (number) => String(number).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const rest = `${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

function renderTurn(turn) {
  const list = $('transcript');
  const id = `turn-${turn.item_id}`;
  const old = document.getElementById(id);
  const name = element('button', { type: 'button', className: `name ${colourOf(turn.speaker)}`, title: t('correctSpeaker') }, nameOf(turn.speaker));
  name.onclick = () => chooseSpeaker(turn, name);
  const edit = element('button', { type: 'button', className: 'quiet edit', title: t('correctText') }, '✎');
  const text = element('p', { className: 'text' }, turn.text);
  edit.onclick = () => editText(turn, text);
  const sure = turn.confidence > 0 && turn.confidence < 1 ? `${Math.round(turn.confidence * 100)}%` : '';
  const head = element('div', { className: 'head' }, element('time', {}, clock(turn.start_ms)), name,
    element('span', { className: 'sure', title: t('sure') }, sure), edit);
  const item = element('li', { id }, head, text);
  const atEnd = window.innerHeight + window.scrollY >= document.body.scrollHeight - 160;
  if (old) old.replaceWith(item); else list.append(item);
  $('empty').hidden = true;
  if (!old && atEnd) item.scrollIntoView({ block: 'nearest' });
}

function chooseSpeaker(turn, name) {
  const select = element('select', { className: 'choose' });
  const ids = new Set([...meeting.participants.map((person) => person.id), turn.speaker].filter(Boolean));
  if (!turn.speaker) select.append(element('option', { value: '' }, '?'));
  for (const id of ids) select.append(element('option', { value: id, selected: id === turn.speaker }, nameOf(id)));
  select.onchange = () => { if (select.value) send('correct', { item_id: turn.item_id, speaker: select.value }); };
  select.onblur = () => renderTurn(meeting.turns.get(turn.item_id));
  name.replaceWith(select);
  select.focus();
}

function editText(turn, text) {
  const box = element('textarea', { value: turn.text, maxLength: 10000, rows: 2, ariaLabel: t('editText') });
  const save = element('button', { type: 'button', className: 'primary' }, t('save'));
  const cancel = element('button', { type: 'button' }, t('cancel'));
  save.onclick = () => {
    if (box.value.trim() && box.value !== turn.text) send('correct', { item_id: turn.item_id, text: box.value });
    renderTurn(meeting.turns.get(turn.item_id));
  };
  cancel.onclick = () => renderTurn(meeting.turns.get(turn.item_id));
  text.replaceWith(element('div', { className: 'editor' }, box, element('div', { className: 'actions' }, save, cancel)));
  box.focus();
}

function renderPartial() {
  $('partial').textContent = [...meeting.partials.values()].join(' ');
  if (meeting.partials.size) $('empty').hidden = true;
}

function renderSpeakers() {
  const group = $('speakers');
  group.ariaLabel = t('who');
  const button = (id, label) => {
    const pressed = meeting.speaker === id;
    const made = element('button', { type: 'button', className: `chip ${id ? colourOf(id) : ''}`, ariaPressed: String(pressed) }, label);
    made.onclick = () => { meeting.speaker = id; if (id) send('speaker', { speaker: id }); renderSpeakers(); };
    return made;
  };
  // Once a speaker was declared, the meeting is one with push to talk.
  const auto = meeting.speaker ? [] : [button(null, t('auto'))];
  group.replaceChildren(...auto, ...meeting.participants.map((person) => button(person.id, person.name)));
}

function renderSide() {
  $('interventions').replaceChildren(...meeting.interventions.slice().reverse().map((remark) =>
    element('li', { className: remark.kind }, element('strong', {}, t(remark.kind)), element('span', {}, remark.text))));
  $('actions').replaceChildren(...[...meeting.actions.values()].map((todo) => element('li', {}, todo.message.replace(/^speaker-\d+(?=: )/, nameOf))));
  for (const list of ['interventions', 'actions']) $(list).nextElementSibling.hidden = $(list).children.length > 0;
  $('minutes-panel').hidden = !(meeting.minutes || meeting.ending);
  $('download').hidden = !meeting.minutes;
  $('steps').hidden = Boolean(meeting.minutes);
  $('steps').replaceChildren(...[...meeting.steps.values()].map((step) => element('li', { className: step.status }, step.message)));
  $('minutes').replaceChildren(...(meeting.minutes ? markdown(meeting.minutes.markdown) : []));
}

// The part of Markdown that minutes use; the text is never read as HTML.
function markdown(text) {
  const blocks = [];
  let list = null;
  const plain = (line) => line.replaceAll('&lt;', '<').replaceAll('&amp;', '&');
  for (const line of text.split('\n')) {
    const heading = /^(#{1,3}) (.*)$/.exec(line);
    const item = /^- (\[ \] )?(.*)$/.exec(line);
    if (item) {
      if (!list) { list = element('ul'); blocks.push(list); }
      list.append(element('li', { className: item[1] ? 'task' : '' }, plain(item[2])));
      continue;
    }
    list = null;
    if (heading) blocks.push(element(`h${heading[1].length + 1}`, {}, plain(heading[2])));
    else if (line.trim()) blocks.push(element('p', {}, plain(line)));
  }
  return blocks;
}

function render() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  $('language').textContent = t('switchTo');
  $('microphone').textContent = t(sound.stream ? 'microphoneOff' : 'microphone');
  $('microphone').ariaPressed = String(Boolean(sound.stream));
  const joined = Boolean(meeting.id);
  $('setup').hidden = joined;
  $('recent').hidden = joined || !$('recent-list').children.length;
  $('leave').hidden = !joined;
  document.title = joined && meeting.title ? `${meeting.title} · ${t('app')}` : t('app');
  $('live').hidden = $('side').hidden = !joined;
  if (!joined) return;
  $('live-title').textContent = meeting.title || meeting.id;
  const over = meeting.phase === 'ended';
  for (const id of ['microphone', 'end', 'file']) $(id).disabled = over || meeting.ending || !isOpen();
  $('controls').hidden = over;
  $('speakers').hidden = over;
  document.querySelector('.level').hidden = over;
  const { upstream, buffered_ms: buffered = 0, dropped_ms: dropped = 0 } = meeting.status ?? {};
  const parts = [];
  if (!isOpen()) parts.push(t('offline'));
  else if (over) parts.push(t('ended'));
  else if (meeting.ending) parts.push(t('ending'));
  else parts.push(upstream ? t(upstream) : t('ready'));
  if (sound.playing) parts.push(t('playing'));
  if (buffered >= 1000) parts.push(t('waiting', { s: Math.round(buffered / 1000) }));
  if (dropped > 0) parts.push(t('dropped', { s: (dropped / 1000).toFixed(1) }));
  $('state').textContent = parts.join(' · ');
  $('upstream').className = `dot ${isOpen() ? upstream ?? 'idle' : 'reconnecting'}`;
  renderSpeakers();
  renderSide();
}

// ---- start

function people(text) {
  const names = text.split(/[,，\n]/).map((name) => name.trim()).filter(Boolean).slice(0, 100);
  return [...new Set(names)].map((name) => ({ id: name.slice(0, 20), name }));
}

function join(id, setup) {
  meeting.id = id;
  notice('');
  meeting.setup = setup;
  meeting.title = setup?.title;
  history.replaceState(null, '', `#${encodeURIComponent(id)}`);
  render();
  connect();
}

$('form').onsubmit = (event) => {
  event.preventDefault();
  const principles = [...document.querySelectorAll('#principles input:checked')].map((box) => box.value);
  const participants = people($('people').value);
  const title = $('title').value.trim();
  // One who only looks on changes nothing.
  const setup = title || participants.length
    ? { title, participants, language: $('spoken').value, principles, planned_minutes: Number($('planned').value) || null }
    : null;
  join($('meeting-id').value.trim(), setup);
};

$('demo').onclick = async () => {
  const number = Math.random().toString(36).slice(2, 8);
  join(`demo-${number}`, {
    title: t('demoTitle'), participants: [{ id: 'minsu', name: '민수' }, { id: 'jimin', name: '지민' }], language: 'ko',
    principles: [...document.querySelectorAll('#principles input')].map((box) => box.value).slice(0, 20), planned_minutes: 30,
  });
  try {
    await openContext();
    const answer = await fetch('/meeting/demo.wav');
    await play(await answer.arrayBuffer());
  } catch {
    notice(t('badFile'));
  }
};
$('microphone').onclick = toggleMicrophone;
$('file').onchange = async () => {
  const [file] = $('file').files;
  if (file) await play(await file.arrayBuffer());
  $('file').value = '';
};
$('end').onclick = () => {
  stopSound();
  meeting.ending = true;
  send('end');
  render();
};
$('language').onclick = () => {
  language = language === 'ko' ? 'en' : 'ko';
  localStorage.setItem('meeting.language', language);
  for (const turn of meeting.turns.values()) renderTurn(turn);
  render();
  if (!meeting.id) loadMeetings();
};

$('leave').onclick = () => {
  stopSound();
  meeting.socket?.close();
  history.replaceState(null, '', location.pathname);
  location.reload();
};
$('download').onclick = async () => {
  const answer = await fetch(`/api/v1/meetings/${encodeURIComponent(meeting.id)}/markdown`, { headers: headers() });
  if (!answer.ok) { notice(t('refused', { error: answer.status })); return; }
  const url = URL.createObjectURL(await answer.blob());
  element('a', { href: url, download: `${meeting.id}.md` }).click();
  URL.revokeObjectURL(url);
};
$('key').onchange = () => {
  key = $('key').value.trim() || null;
  if (key) sessionStorage.setItem('key', key); else sessionStorage.removeItem('key');
  loadPrinciples();
};

async function loadPrinciples() {
  const answer = await fetch('/api/v1/principles', { headers: headers() }).catch(() => null);
  $('key-label').hidden = answer?.status !== 401;
  if (answer?.status === 401) notice(t('keyNeeded'));
  if (!answer?.ok) return;
  loadMeetings();
  const { principles } = await answer.json();
  $('principles').replaceChildren(...principles.map(({ name, title }) =>
    element('label', {}, element('input', { type: 'checkbox', value: name, checked: true }), element('span', {}, title))));
}

async function loadMeetings() {
  const answer = await fetch('/api/v1/meetings', { headers: headers() }).catch(() => null);
  if (!answer?.ok) return;
  const { meetings } = await answer.json();
  $('recent-list').replaceChildren(...meetings.slice(0, 8).map((found) => {
    const open = element('button', { type: 'button', className: 'quiet' }, found.title || t('untitled'));
    open.onclick = () => join(found.meeting_id, null);
    const when = new Date(found.started_at).toLocaleString(language, { dateStyle: 'medium', timeStyle: 'short' });
    const state = element('span', { className: `tag ${found.status}` }, t(found.status === 'ended' ? 'over' : 'running'));
    return element('li', {}, open, element('small', {}, `${when} · ${t('turns', { n: found.turns })}`), state);
  }));
  render();
}

$('meeting-id').value = decodeURIComponent(location.hash.slice(1)) || `meeting-${new Date().toISOString().slice(0, 10)}`;
$('spoken').value = language;
render();
loadPrinciples();
