// The page: one session, its conversation, the eight emotions, and the browser's own speech.

const TEXTS = {
  ko: {
    title: '마음 상담', skip: '메시지 입력으로 이동', emotion: '지금의 감정', label: '하고 싶은 말', placeholder: '하고 싶은 말을 적어 주세요', send: '보내기', other: 'English',
    listen: '말로 입력', speak: '답변 듣기',
    connecting: '연결하는 중', open: '연결됨', closed: '연결이 끊겼습니다. 다시 연결하는 중입니다', replaced: '다른 창에서 상담을 이어 가고 있습니다', refused: '이 상담을 열 수 없습니다',
    hello: '안녕하세요. 어떤 이야기든 편하게 들려주세요.', notice: '이 상담은 진단이나 치료를 대신하지 않습니다. 위급할 때는 109(자살예방) 또는 119로 전화하세요.',
    left: count => `${count}자 남았습니다`, over: count => `${count}자를 줄여 주세요 (최대 2000자)`, noMicrophone: '마이크를 사용할 수 없습니다',
    emotions: { neutral: '평온', happy: '기쁨', sad: '슬픔', angry: '화남', anxious: '불안', surprised: '놀람', disgusted: '불쾌', fearful: '두려움' },
  },
  en: {
    title: 'Counselling', skip: 'Go to the message', emotion: 'How you feel now', label: 'Your message', placeholder: 'Write what is on your mind', send: 'Send', other: '한국어',
    listen: 'Speak', speak: 'Read aloud',
    connecting: 'Connecting', open: 'Connected', closed: 'Disconnected. Connecting again', replaced: 'This session continues in another window', refused: 'This session cannot be opened',
    hello: 'Hello. What would you like to talk about?', notice: 'This is no substitute for diagnosis or treatment. In an emergency in Korea, call 109 (suicide prevention) or 119.',
    left: count => `${count} characters left`, over: count => `Please remove ${count} characters (2000 at most)`, noMicrophone: 'The microphone cannot be used',
    emotions: { neutral: 'Calm', happy: 'Happy', sad: 'Sad', angry: 'Angry', anxious: 'Anxious', surprised: 'Surprised', disgusted: 'Disgusted', fearful: 'Afraid' },
  },
};
const FACES = { neutral: '😌', happy: '😊', sad: '😢', angry: '😠', anxious: '😟', surprised: '😮', disgusted: '😣', fearful: '😨' };
const MOST = 2000;

const $ = id => document.getElementById(id);
const query = new URLSearchParams(location.search);
const remembered = (key, make) => {
  try {
    const value = localStorage.getItem(key) ?? make();
    localStorage.setItem(key, value);
    return value;
  } catch {
    return make();
  }
};
const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* the choice lasts until the page is closed */ } };
const session = query.get('session') ?? remembered('counselling.session', () => `web-${crypto.getRandomValues(new Uint32Array(3)).join('-')}`);
let language = query.get('lang') ?? remembered('counselling.language', () => (navigator.language.startsWith('ko') ? 'ko' : 'en'));
if (!TEXTS[language]) language = 'ko';
let texts = TEXTS[language];
let emotion = 'neutral';
let state = 'connecting';
let socket;
let answer;
let retries = 0;
const opened = Date.now();
let recalled = false;

// Shows the earlier exchanges of a session that is opened again, once.
async function recall() {
  if (recalled) return;
  recalled = true;
  const headers = query.has('token') ? { authorization: `Bearer ${query.get('token')}` } : {};
  const response = await fetch(`/api/sessions/${encodeURIComponent(session)}/conversations`, { headers });
  if (!response.ok) throw new Error(response.statusText);
  const { conversations } = await response.json();
  const before = $('conversation').querySelector('.hello').nextSibling;
  for (const { user_message: message, ai_response: text, emotion: felt } of conversations.filter(one => one.timestamp < opened)) {
    const item = document.createElement('li');
    item.className = 'client';
    if (texts.emotions[felt]) {
      const label = document.createElement('small');
      label.textContent = `${FACES[felt]} ${texts.emotions[felt]}`;
      item.append(label);
    }
    item.append(message);
    const reply = document.createElement('li');
    reply.className = 'counsellor';
    reply.textContent = text;
    link(reply);
    for (const one of [item, reply]) $('conversation').insertBefore(one, before);
  }
  $('conversation').lastElementChild.scrollIntoView({ block: 'end' });
}

function translate() {
  texts = TEXTS[language];
  document.documentElement.lang = language;
  document.title = texts.title;
  for (const element of document.querySelectorAll('[data-text]')) element.textContent = texts[element.dataset.text];
  $('message').placeholder = texts.placeholder;
  $('send').textContent = texts.send;
  $('language').textContent = texts.other;
  $('language').lang = language === 'ko' ? 'en' : 'ko';
  $('listen').setAttribute('aria-label', texts.listen);
  $('speak').setAttribute('aria-label', texts.speak);
  for (const span of document.querySelectorAll('#emotions span')) span.textContent = `${FACES[span.dataset.word]} ${texts.emotions[span.dataset.word]}`;
  const hello = document.querySelector('.hello');
  if (hello) hello.textContent = texts.hello;
  show(state);
  measure();
}

function show(now) {
  state = now;
  $('connection').dataset.state = now === 'open' || now === 'connecting' ? now : 'closed';
  $('connection').textContent = texts[now];
  enable();
}

const enable = () => { $('send').disabled = state !== 'open' || Boolean(answer) || over() > 0; };
const over = () => [...$('message').value.trim()].length - MOST;

function measure() {
  const left = -over();
  $('hint').className = left < 0 ? 'over' : '';
  $('hint').textContent = left < 0 ? texts.over(-left) : left <= 200 ? texts.left(left) : '';
  $('message').style.height = 'auto';
  $('message').style.height = `${$('message').scrollHeight + 2}px`;
  enable();
}

function add(kind, text) {
  const item = document.createElement('li');
  item.className = kind;
  item.textContent = text;
  $('conversation').append(item);
  item.scrollIntoView({ block: 'end' });
  return item;
}

// Phone numbers of the help lines become links.
function link(item) {
  const parts = item.textContent.split(/(\b(?:109|119|112|1577-0199)\b)/);
  if (parts.length < 2) return;
  item.replaceChildren(...parts.map((part, index) => {
    if (index % 2 === 0) return part;
    const anchor = document.createElement('a');
    anchor.href = `tel:${part}`;
    anchor.textContent = part;
    return anchor;
  }));
}

// --- socket

function connect() {
  const options = new URLSearchParams({ lang: language });
  if (query.has('token')) options.set('token', query.get('token'));
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const own = new WebSocket(`${scheme}://${location.host}/ws/session/${encodeURIComponent(session)}?${options}`);
  socket = own;
  show(retries ? 'closed' : 'connecting');
  own.onopen = () => {
    if (socket !== own) return;
    retries = 0;
    show('open');
    recall().catch(() => { recalled = false; });
  };
  own.onmessage = event => { if (socket === own) receive(JSON.parse(event.data)); };
  own.onclose = event => {
    if (socket !== own) return;
    end();
    if (event.code === 4001) return show('replaced');
    if (event.code === 4004) return show('refused');
    retries += 1;
    show('closed');
    setTimeout(connect, Math.min(500 * 2 ** retries, 10_000));
  };
}

function receive({ type, data }) {
  if (type === 'ai_stream_begin') {
    answer ??= add('counsellor waiting', '');
  } else if (type === 'ai_stream_chunk' && answer) {
    answer.classList.remove('waiting');
    answer.append(data.chunk);
    answer.scrollIntoView({ block: 'end' });
    say(data.chunk);
  } else if (type === 'ai_stream_complete') {
    say('', true);
    end();
  } else if (type === 'ai_stream_error') {
    end();
    add('error', data.error);
  }
}

function end() {
  if (!answer) return;
  if (answer.textContent) link(answer);
  else answer.remove();
  answer.classList.remove('waiting');
  answer = undefined;
  enable();
}

function send() {
  const message = $('message').value.trim();
  if (!message || $('send').disabled) return;
  const item = add('client', '');
  const label = document.createElement('small');
  label.textContent = `${FACES[emotion]} ${texts.emotions[emotion]}`;
  item.append(label, message);
  silence();
  socket.send(JSON.stringify({ type: 'request_ai_response', data: { message, emotion, timestamp: Date.now() } }));
  answer = add('counsellor waiting', '');
  $('message').value = '';
  measure();
  $('message').focus();
}

// --- speech, where the browser has it

let aloud = false;
let unsaid = '';

function say(text, last = false) {
  if (!aloud) return;
  unsaid += text;
  for (;;) {
    const end = unsaid.search(/[.!?…。]\s|\n/) + 1;
    if (!end) break;
    utter(unsaid.slice(0, end));
    unsaid = unsaid.slice(end);
  }
  if (last) {
    utter(unsaid);
    unsaid = '';
  }
}

function utter(text) {
  if (!text.trim()) return;
  const utterance = new SpeechSynthesisUtterance(text.trim());
  utterance.lang = /[가-힣]/.test(text) ? 'ko-KR' : 'en-US';
  speechSynthesis.speak(utterance);
}

function silence() {
  unsaid = '';
  if ('speechSynthesis' in window) speechSynthesis.cancel();
}

if ('speechSynthesis' in window) {
  $('speak').hidden = false;
  $('speak').onclick = () => {
    aloud = !aloud;
    $('speak').setAttribute('aria-pressed', String(aloud));
    if (!aloud) silence();
  };
}

const Recognition = window.SpeechRecognition ?? window.webkitSpeechRecognition;
if (Recognition) {
  let recognition;
  const listening = on => $('listen').setAttribute('aria-pressed', String(on));
  $('listen').hidden = false;
  $('listen').onclick = () => {
    if (recognition) return recognition.stop();
    silence();
    recognition = new Recognition();
    recognition.lang = language === 'ko' ? 'ko-KR' : 'en-US';
    recognition.interimResults = true;
    recognition.onresult = event => {
      $('message').value = [...event.results].map(result => result[0].transcript).join('');
      measure();
      if (event.results[event.results.length - 1].isFinal) send();
    };
    recognition.onerror = () => { $('hint').textContent = texts.noMicrophone; };
    recognition.onend = () => { recognition = undefined; listening(false); };
    listening(true);
    recognition.start();
  };
}

// --- start

for (const word of Object.keys(FACES)) {
  const label = document.createElement('label');
  const input = document.createElement('input');
  const span = document.createElement('span');
  Object.assign(input, { type: 'radio', name: 'emotion', value: word, checked: word === emotion });
  input.onchange = () => {
    emotion = word;
    if (state === 'open') socket.send(JSON.stringify({ type: 'emotion_update', data: { emotion } }));
  };
  span.dataset.word = word;
  label.append(input, span);
  $('emotions').append(label);
}
add('counsellor hello', '');
$('language').onclick = () => {
  language = language === 'ko' ? 'en' : 'ko';
  remember('counselling.language', language);
  silence();
  end();
  translate();
  const before = socket;
  connect();
  before.close();
};
$('message').oninput = measure;
$('message').onkeydown = event => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
};
$('form').onsubmit = event => {
  event.preventDefault();
  send();
};
translate();
connect();
