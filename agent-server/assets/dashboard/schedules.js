// The schedules of the server, in a dialog: the list, and a form for a new one.

import { api } from './api.js';
import { h, setText } from './dom.js';
import { dateTime } from './format.js';
import { t } from './i18n.js';

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

export class SchedulesView {
  /** `on`: `failed(error)`, and `agents()`, the agents of the server. */
  constructor(dialog, on) {
    Object.assign(this, { dialog, on });
  }

  async open() {
    this.draw();
    this.dialog.showModal();
    await this.load();
  }

  async load() {
    try {
      this.show((await api.schedules()).schedules);
    } catch (error) {
      this.list.replaceChildren(h('p', { class: 'problem', role: 'alert' }, error.message));
    }
  }

  draw() {
    this.list = h('div', { class: 'schedules', 'aria-live': 'polite' }, h('p', { class: 'faint' }, t('loading')));
    this.dialog.replaceChildren(
      h('div', { class: 'side-head' }, h('h2', { id: 'schedules-title' }, t('schedules')), h('span', { class: 'grow' }), h('form', { method: 'dialog' }, h('button', {}, t('close')))),
      h('p', { class: 'faint' }, t('schedules.words')), this.list, this.form());
  }

  show(schedules) {
    if (schedules.length === 0) {
      this.list.replaceChildren(h('p', { class: 'empty' }, t('schedules.none')));
      return;
    }
    this.list.replaceChildren(...schedules.map(one => this.row(one)));
  }

  row(one) {
    const state = one.status === 'stopped' ? t('schedules.stopped') : one.next_run_at ? t('schedules.next', { time: dateTime(Date.parse(one.next_run_at)) }) : t('schedules.ended');
    const last = one.last && (one.last.error
      ? h('span', { class: 'problem' }, t('schedules.not_started', { reason: one.last.error }))
      : h('a', { href: `#/s/${encodeURIComponent(one.last.session_id)}`, on: { click: () => this.dialog.close() } }, t('schedules.last')));
    const remove = h('button', { type: 'button', class: 'danger', on: { click: () => this.remove(one.schedule_id) } }, t('schedules.delete'));
    return h('section', { class: 'schedule', data: { schedule: one.schedule_id } },
      h('div', { class: 'row' }, h('strong', { dir: 'auto' }, one.title ?? one.schedule_id), h('span', { class: 'grow' }), remove),
      h('p', { class: 'faint' }, h('span', { class: 'mono' }, one.cron ? `${one.cron} · ${one.time_zone}` : one.schedule_id), ' · ', state, ' · ', t('schedules.fired', { count: one.fired })),
      last && h('p', {}, last));
  }

  async remove(id) {
    try {
      await api.unschedule(id);
    } catch (error) {
      this.on.failed(error);
    }
    await this.load();
  }

  form() {
    const problem = h('p', { class: 'problem', role: 'alert' });
    const message = h('textarea', { id: 'schedule-message', rows: 2, dir: 'auto', maxlength: 32768, required: true });
    const agents = this.on.agents();
    const agent = h('select', { id: 'schedule-agent' }, agents.map(one => h('option', { value: one.name }, one.name)));
    const cron = h('input', { id: 'schedule-cron', class: 'mono', value: '0 9 * * MON-FRI', maxlength: 128, spellcheck: 'false' });
    const zone = h('input', { id: 'schedule-zone', class: 'mono', value: ZONE, maxlength: 128, spellcheck: 'false' });
    const once = h('input', { id: 'schedule-once', type: 'datetime-local' });
    const send = async event => {
      event.preventDefault();
      setText(problem, '');
      const body = { message: message.value };
      if (agents.length > 1) body.agent = agent.value;
      if (once.value) body.run_at = new Date(once.value).toISOString();
      else Object.assign(body, { cron: cron.value, time_zone: zone.value || undefined });
      try {
        await api.schedule(body);
        message.value = '';
        once.value = '';
        await this.load();
      } catch (error) {
        setText(problem, error.message);
      }
    };
    const row = (name, control) => h('div', { class: 'form-row' }, h('label', { for: control.id }, t(name)), control);
    return h('form', { class: 'schedule-form', on: { submit: send } },
      row('schedules.message', message),
      agents.length > 1 ? row('schedules.agent', agent) : null,
      row('schedules.cron', cron), row('schedules.zone', zone), row('schedules.once', once), problem,
      h('div', { class: 'row' }, h('button', { class: 'primary' }, t('schedules.create'))));
  }
}
