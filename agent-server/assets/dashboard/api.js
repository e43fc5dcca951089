// The server's REST paths: JSON in, JSON out, every failure a `Failure` with words.

import { bearer } from './prefs.js';
import { t } from './i18n.js';

/** A request that failed. `message` is the text to show. */
export class Failure extends Error {
  constructor(status, code, message, body) {
    super(message);
    this.status = status;
    this.code = code;
    this.body = body;
  }
}

const TIME = 30_000;
let unauthorized = () => {};

/** Called with its words whenever the server answers 401. */
export function onUnauthorized(listener) {
  unauthorized = listener;
}

async function request(method, path, body, time = TIME) {
  const headers = { accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (bearer()) headers.authorization = `Bearer ${bearer()}`;
  let response;
  let text;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store', credentials: 'same-origin', signal: AbortSignal.timeout(time),
    });
    text = await response.text();
  } catch (error) {
    const slow = error?.name === 'TimeoutError';
    throw new Failure(0, slow ? 'timeout' : 'unreachable', t(slow ? 'error.timeout' : 'error.unreachable'));
  }
  let parsed;
  try {
    parsed = text ? JSON.parse(text) : null;
  } catch {
    parsed = undefined;
  }
  const said = typeof parsed?.message === 'string' && parsed.message;
  if (response.status === 401) unauthorized(said || t('error.status', { status: 401 }));
  if (!response.ok) {
    throw new Failure(response.status, parsed?.code ?? `http_${response.status}`, said || t('error.status', { status: response.status }), parsed);
  }
  if (parsed === undefined) throw new Failure(response.status, 'not_json', t('error.not_json'));
  return parsed;
}

const of = id => encodeURIComponent(id);
const query = fields => {
  const said = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return said.length ? `?${new URLSearchParams(said.map(([name, value]) => [name, String(value)]))}` : '';
};

export const api = {
  start: body => request('POST', '/run-async', body),
  stop: id => request('POST', `/stop/${of(id)}`, undefined, 60_000),
  resume: id => request('POST', `/resume/${of(id)}`),
  answer: (id, question, value) => request('POST', `/resume/${of(id)}`, { id: question, value }),
  agents: () => request('GET', '/agents'),
  sessions: fields => request('GET', `/sessions${query(fields)}`),
  session: id => request('GET', `/sessions/${of(id)}`),
  journal: (id, after, limit) => request('GET', `/sessions/${of(id)}/journal${query({ after, limit })}`),
  state: (id, at) => request('GET', `/sessions/${of(id)}/state${query({ at })}`),
  diff: (id, from, to) => request('GET', `/sessions/${of(id)}/diff${query({ from, to })}`),
  graph: id => request('GET', `/sessions/${of(id)}/graph`),
  fork: (id, at) => request('POST', `/sessions/${of(id)}/fork`, at === undefined ? {} : { at }),
  steer: (id, message) => request('POST', `/sessions/${of(id)}/steer`, { message }),
  schedules: () => request('GET', '/schedules'),
  schedule: body => request('POST', '/schedules', body),
  unschedule: id => request('DELETE', `/schedules/${of(id)}`),
  remove: id => request('DELETE', `/sessions/${of(id)}`),
};
