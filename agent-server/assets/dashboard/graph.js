// The graph of the chosen session, drawn; running nodes lit, finished and failed ones marked.

import { add, cut, h, s, setAttr, setText } from './dom.js';
import { MOST, layOut } from './layout.js';
import { t } from './i18n.js';

const MARKS = { running: '●', retrying: '↻', waiting: '?', done: '✓', failed: '✕', halted: '■' };
const PAD = 6;
/** The smallest that a graph is drawn for its height's sake. */
const LEAST = 0.72;
/** The smallest scale used to fit a graph into the width: smaller text is not legible. */
const LEGIBLE = 0.6;
const LARGE = { least: 0.8, most: 1.4 };
let pen;

function measure(text) {
  pen ??= document.createElement('canvas').getContext('2d');
  pen.font = '12.5px system-ui, "Noto Sans KR", sans-serif';
  return pen.measureText(cut(text, 28)).width;
}

/** Paths of the nodes as events name them: `outer/inner`. */
function pathsOf(nodes) {
  const known = new Map(nodes.map(node => [node.id, node]));
  const paths = new Map();
  const path = (node, depth) => {
    const up = node.parent && depth < 16 ? known.get(node.parent) : undefined;
    const name = node.label ?? node.id;
    return up ? `${path(up, depth + 1)}/${name}` : name;
  };
  for (const node of nodes) paths.set(node.id, path(node, 0));
  return paths;
}

function curve(points) {
  let d = `M${points[0].join(' ')}`;
  for (let at = 1; at < points.length; at += 1) {
    const [[x0, y0], [x1, y1]] = [points[at - 1], points[at]];
    const middle = (y0 + y1) / 2;
    d += x0 === x1 ? `L${x1} ${y1}` : `C${x0} ${middle} ${x1} ${middle} ${x1} ${y1}`;
  }
  return d;
}

export class GraphView {
  constructor(element) {
    this.element = element;
    this.parts = new Map();
  }

  /** Draws another graph; `null`: there is none. */
  show(graph) {
    this.graph = graph;
    this.parts = new Map();
    this.element.replaceChildren();
    if (!graph?.nodes?.length) {
      this.element.append(h('p', { class: 'empty' }, t(graph === undefined ? 'graph.loading' : 'graph.none')));
      return;
    }
    if (graph.nodes.length > MOST) {
      this.element.append(h('p', { class: 'empty' }, t('graph.large', { count: graph.nodes.length })));
      return;
    }
    const laid = layOut(graph, measure);
    const [width, height] = [laid.width + PAD * 2, laid.height + PAD * 2];
    // Made smaller to be seen as a whole, but never too small to read: the rest is scrolled to.
    const room = Math.max(this.element.clientWidth, 200) / width;
    const tall = this.large ? this.element.clientHeight : window.innerHeight * 0.5;
    const scale = this.large ? Math.max(Math.min(LARGE.most, room, tall / height), LARGE.least) : Math.max(Math.min(1, room, tall / height), Math.min(LEAST, room), LEGIBLE);
    this.svg = s('svg', { class: 'graph', role: 'img', viewBox: `${-PAD} ${-PAD} ${width} ${height}`, width: Math.round(width * scale), height: Math.round(height * scale) },
      s('defs', {}, ['edge', 'error'].map(kind => s('marker', { id: `arrow-${kind}`, class: `arrow ${kind}`, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto' }, s('path', { d: 'M0 0.5L7.5 4L0 7.5z' })))));
    const paths = pathsOf(graph.nodes);
    const groups = laid.nodes.filter(one => one.group);
    add(this.svg, groups.map(one => this.draw(one, paths.get(one.node.id))));
    for (const { edge, points, loop } of laid.edges) {
      const kind = ['edge', 'branch', 'send', 'error', 'goto', 'join'].includes(edge.kind) ? edge.kind : 'edge';
      const d = loop ? `M${points[0].join(' ')}C${points.slice(1).map(point => point.join(' ')).join(' ')}` : curve(points);
      const path = s('path', { class: `way ${kind}`, d, 'marker-end': `url(#arrow-${kind === 'error' ? 'error' : 'edge'})` }, s('title', {}, `${edge.from} → ${edge.to} (${t(`edge.${kind}`)})`));
      this.svg.append(path);
      if (edge.label) {
        const [x, y] = points[Math.floor(points.length / 2)];
        this.svg.append(s('text', { class: 'way-label', x: x + 4, y: y - 6 }, cut(String(edge.label), 18)));
      }
    }
    add(this.svg, laid.nodes.filter(one => !one.group).map(one => this.draw(one, paths.get(one.node.id))));
    this.element.append(this.svg);
  }

  draw({ node, x, y, w, h: height, group }, path) {
    const label = node.label ?? node.id;
    if (node.kind === 'start' || node.kind === 'end') {
      return s('g', { class: `terminal ${node.kind}` }, s('circle', { cx: x + w / 2, cy: y + height / 2, r: 7 }),
        node.kind === 'end' && s('circle', { class: 'inner', cx: x + w / 2, cy: y + height / 2, r: 3.5 }), s('title', {}, t(`node.${node.kind}`)));
    }
    const mark = s('text', { class: 'mark', x: group ? x + 14 : x + 13, y: group ? y + 16 : y + height / 2 + 4, 'text-anchor': 'middle' });
    const count = s('text', { class: 'count', x: x + w - 8, y: group ? y + 16 : y + height / 2 + 4, 'text-anchor': 'end' });
    const title = s('title', {}, label);
    const part = s('g', { class: `node ${node.kind ?? 'node'}${group ? ' group' : ''}`, data: { node: path } },
      s('rect', { x, y, width: w, height, rx: group ? 10 : node.kind === 'join' ? 3 : 8 }), mark,
      s('text', { class: 'label', x: group ? x + 26 : x + 24, y: group ? y + 16 : y + height / 2 + 4 }, cut(label, 28)), count, title);
    this.parts.set(node.id, { part, mark, count, title, path, label });
    return part;
  }

  /** Scrolls a node that was lit just now to where it is seen. */
  see(part) {
    if (part === this.seen) return;
    this.seen = part;
    const box = this.element;
    if (!part || (box.scrollHeight <= box.clientHeight && box.scrollWidth <= box.clientWidth)) return;
    const [inner, outer] = [part.getBoundingClientRect(), box.getBoundingClientRect()];
    if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top + 8;
    else if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom + 8;
    if (inner.left < outer.left) box.scrollLeft -= outer.left - inner.left + 8;
    else if (inner.right > outer.right) box.scrollLeft += inner.right - outer.right + 8;
  }

  /** Shows the graph in a dialog, as large as the window, until that is closed. */
  enlarge(dialog, story) {
    const home = this.element.parentElement;
    const again = large => {
      this.large = large;
      this.seen = undefined;
      this.show(this.graph);
      this.light(story());
    };
    dialog.append(this.element);
    dialog.showModal();
    again(true);
    dialog.addEventListener('close', () => {
      home.append(this.element);
      again(false);
    }, { once: true });
  }

  /** Marks the nodes as the story has them. */
  light(story) {
    if (!this.svg || this.parts.size === 0) return;
    const byState = {};
    let lit;
    for (const [id, { part, mark, count, title, path, label }] of this.parts) {
      let standing = story.standingOf(path);
      if (standing.state === 'idle' && id !== path) {
        const other = story.standingOf(id);
        if (other.state !== 'idle') standing = other;
      }
      setAttr(part, 'data-state', standing.state);
      setText(mark, MARKS[standing.state] ?? '○');
      const total = standing.done + standing.running;
      setText(count, total > 1 ? (standing.running > 0 ? `${standing.done}/${total}` : `×${total}`) : '');
      setText(title, `${label}: ${t(`state.${standing.state}`)}`);
      if (['running', 'retrying', 'waiting'].includes(standing.state)) lit = part;
      if (standing.state !== 'idle') (byState[standing.state] ??= []).push(label);
    }
    this.see(lit);
    const words = Object.entries(byState).map(([state, labels]) => `${t(`state.${state}`)}: ${labels.join(', ')}`);
    setAttr(this.svg, 'aria-label', [t('graph.of', { name: this.graph.name ?? '' }), ...words].join('. '));
  }
}
