// The server's REST paths: JSON in, JSON out, every failure an `ApiError` with a text.

import { bearer } from './prefs.js';
import { t } from './i18n.js';

/** A request that failed. `message` is the text to show. */
export class ApiError extends Error {
  constructor(status, code, message, body) {
    super(message);
    this.status = status;
    this.code = code;
    this.body = body;
  }
}

const TIMEOUT = 30_000;
let unauthorized = () => {};

/** Sets the function that is called with the message whenever the server answers 401. */
export function onUnauthorized(listener) {
  unauthorized = listener;
}

async function request(method, path, body, time = TIMEOUT) {
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
    throw new ApiError(0, slow ? 'timeout' : 'unreachable', t(slow ? 'error.timeout' : 'error.unreachable'));
  }
  let parsed;
  try {
    parsed = text ? JSON.parse(text) : null;
  } catch {
    parsed = undefined;
  }
  const message = typeof parsed?.message === 'string' && parsed.message;
  if (response.status === 401) unauthorized(message || t('error.status', { status: 401 }));
  if (!response.ok) {
    throw new ApiError(response.status, parsed?.code ?? `http_${response.status}`, message || t('error.status', { status: response.status }), parsed);
  }
  if (parsed === undefined) throw new ApiError(response.status, 'not_json', t('error.not_json'));
  return parsed;
}

const encode = id => encodeURIComponent(id);
const query = fields => {
  const pairs = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== '');
  return pairs.length ? `?${new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]))}` : '';
};

export const api = {
  start: body => request('POST', '/run-async', body),
  stop: id => request('POST', `/stop/${encode(id)}`, undefined, 60_000),
  resume: id => request('POST', `/resume/${encode(id)}`),
  answer: (id, question, value) => request('POST', `/resume/${encode(id)}`, { id: question, value }),
  agents: () => request('GET', '/agents'),
  sessions: fields => request('GET', `/sessions${query(fields)}`),
  session: id => request('GET', `/sessions/${encode(id)}`),
  journal: (id, after, limit) => request('GET', `/sessions/${encode(id)}/journal${query({ after, limit })}`),
  state: (id, at) => request('GET', `/sessions/${encode(id)}/state${query({ at })}`),
  diff: (id, from, to) => request('GET', `/sessions/${encode(id)}/diff${query({ from, to })}`),
  graph: id => request('GET', `/sessions/${encode(id)}/graph`),
  fork: (id, at) => request('POST', `/sessions/${encode(id)}/fork`, at === undefined ? {} : { at }),
  steer: (id, message) => request('POST', `/sessions/${encode(id)}/steer`, { message }),
  schedules: () => request('GET', '/schedules'),
  schedule: body => request('POST', '/schedules', body),
  unschedule: id => request('DELETE', `/schedules/${encode(id)}`),
  remove: id => request('DELETE', `/sessions/${encode(id)}`),
};
