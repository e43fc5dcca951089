// Drawing of the session's graph; nodes are marked by their state.

import { add, cut, h, s, setAttr, setText } from './dom.js';
import { MAX_NODES, layOut } from './layout.js';
import { t } from './i18n.js';

const MARKS = { running: '●', retrying: '↻', waiting: '?', done: '✓', failed: '✕', halted: '■' };
const PAD = 6;
/** Smallest scale used to fit a graph into the height. */
const MIN_HEIGHT_SCALE = 0.72;
/** The smallest scale used to fit a graph into the width: smaller text is not legible. */
const MIN_SCALE = 0.6;
const LARGE = { least: 0.8, most: 1.4 };
let textContext;

function measure(text) {
  textContext ??= document.createElement('canvas').getContext('2d');
  textContext.font = '12.5px system-ui, "Noto Sans KR", sans-serif';
  return textContext.measureText(cut(text, 28)).width;
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

/** What an edge says beside its kind: how many sources its join waits for, and where a subgraph is left for. */
function noteOf(edge) {
  if (edge.quorum) return t('graph.quorum', edge.quorum);
  return edge.parent_targets?.length ? t('graph.parent', { nodes: edge.parent_targets.map(nodeName).join(', ') }) : undefined;
}

function nodeName(name) {
  return name === '__end__' ? t('node.end') : name;
}

/** The nodes with a second line: what their joins wait for, or the mode of their graph. */
function withNotes({ nodes, edges }) {
  return nodes.map(node => {
    const notes = new Set(edges.filter(edge => edge.to === node.id && edge.quorum).map(noteOf));
    if (node.dataflow) notes.add(t('graph.dataflow.short'));
    return notes.size ? { ...node, note: [...notes].join(', ') } : node;
  });
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
    if (graph.nodes.length > MAX_NODES) {
      this.element.append(h('p', { class: 'empty' }, t('graph.large', { count: graph.nodes.length })));
      return;
    }
    if (graph.dataflow) this.element.append(h('p', { class: 'graph-note' }, t('graph.dataflow')));
    const layout = layOut({ nodes: withNotes(graph), edges: graph.edges }, measure);
    const [width, height] = [layout.width + PAD * 2, layout.height + PAD * 2];
    // Made smaller to be seen as a whole, but never too small to read: the rest is scrolled to.
    const widthScale = Math.max(this.element.clientWidth, 200) / width;
    const maxHeight = this.large ? this.element.clientHeight : window.innerHeight * 0.5;
    const scale = this.large ? Math.max(Math.min(LARGE.most, widthScale, maxHeight / height), LARGE.least) : Math.max(Math.min(1, widthScale, maxHeight / height), Math.min(MIN_HEIGHT_SCALE, widthScale), MIN_SCALE);
    this.svg = s('svg', { class: 'graph', role: 'img', viewBox: `${-PAD} ${-PAD} ${width} ${height}`, width: Math.round(width * scale), height: Math.round(height * scale) },
      s('defs', {}, ['edge', 'error'].map(kind => s('marker', { id: `arrow-${kind}`, class: `arrow ${kind}`, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto' }, s('path', { d: 'M0 0.5L7.5 4L0 7.5z' })))));
    const paths = pathsOf(graph.nodes);
    const groups = layout.nodes.filter(one => one.group);
    add(this.svg, groups.map(one => this.draw(one, paths.get(one.node.id))));
    for (const { edge, points, loop } of layout.edges) {
      const kind = ['edge', 'branch', 'send', 'error', 'goto', 'join'].includes(edge.kind) ? edge.kind : 'edge';
      const d = loop ? `M${points[0].join(' ')}C${points.slice(1).map(point => point.join(' ')).join(' ')}` : curve(points);
      const path = s('path', { class: `way ${kind}`, d, 'marker-end': `url(#arrow-${kind === 'error' ? 'error' : 'edge'})` }, s('title', {}, `${edge.from} → ${edge.to} (${[t(`edge.${kind}`), noteOf(edge)].filter(Boolean).join(', ')})`));
      this.svg.append(path);
      const label = edge.label ?? (edge.parent_targets?.length && `↑ ${edge.parent_targets.map(nodeName).join(', ')}`);
      if (label) {
        const [x, y] = points[Math.floor(points.length / 2)];
        this.svg.append(s('text', { class: 'way-label', x: x + 4, y: y - 6 }, cut(String(label), 18)));
      }
    }
    add(this.svg, layout.nodes.filter(one => !one.group).map(one => this.draw(one, paths.get(one.node.id))));
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
    const middle = group ? y + 16 : y + height / 2 + (node.note ? -3 : 4);
    const left = group ? x + 26 : x + 24;
    const note = node.note && s('text', { class: 'note', x: group ? left + measure(label) + 8 : left, y: group ? middle : middle + 15 }, cut(node.note, 40));
    // At the edge of the node at which the run pauses.
    const pauses = [['before', y], ['after', y + height]].map(([side, top]) => s('g', { class: `pause ${side}` },
      s('circle', { cx: x + 1, cy: top, r: 6 }), s('path', { d: `M${x - 1} ${top - 2.5}v5M${x + 3} ${top - 2.5}v5` })));
    const part = s('g', { class: `node ${node.kind ?? 'node'}${group ? ' group' : ''}`, data: { node: path } },
      s('rect', { x, y, width: w, height, rx: group ? 10 : node.kind === 'join' ? 3 : 8 }), mark,
      s('text', { class: 'label', x: left, y: middle }, cut(label, 28)), note, count, pauses, title);
    this.parts.set(node.id, { part, mark, count, title, path, label: node.note ? `${label} (${node.note})` : label });
    return part;
  }

  /** Scrolls to a node that has become active. */
  scrollToNode(part) {
    if (part === this.visibleNode) return;
    this.visibleNode = part;
    const box = this.element;
    if (!part || (box.scrollHeight <= box.clientHeight && box.scrollWidth <= box.clientWidth)) return;
    const [inner, outer] = [part.getBoundingClientRect(), box.getBoundingClientRect()];
    if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top + 8;
    else if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom + 8;
    if (inner.left < outer.left) box.scrollLeft -= outer.left - inner.left + 8;
    else if (inner.right > outer.right) box.scrollLeft += inner.right - outer.right + 8;
  }

  /** Shows the graph in a dialog, as large as the window, until that is closed. */
  enlarge(dialog, model) {
    const home = this.element.parentElement;
    const redraw = large => {
      this.large = large;
      this.visibleNode = undefined;
      this.show(this.graph);
      this.markNodes(model());
    };
    dialog.append(this.element);
    dialog.showModal();
    redraw(true);
    dialog.addEventListener('close', () => {
      home.append(this.element);
      redraw(false);
    }, { once: true });
  }

  /** Marks the nodes by their state in the model. */
  markNodes(model) {
    if (!this.svg || this.parts.size === 0) return;
    const byState = {};
    let activePart;
    let broken;
    for (const [id, { part, mark, count, title, path, label }] of this.parts) {
      let nodeState = model.nodeState(path);
      if (nodeState.state === 'idle' && id !== path) {
        const other = model.nodeState(id);
        if (other.state !== 'idle') nodeState = other;
      }
      setAttr(part, 'data-state', nodeState.state);
      setText(mark, MARKS[nodeState.state] ?? '○');
      const total = nodeState.done + nodeState.running;
      setText(count, total > 1 ? (nodeState.running > 0 ? `${nodeState.done}/${total}` : `×${total}`) : '');
      const breaks = model.breakpointsOf(path);
      setAttr(part, 'data-break', breaks.length ? breaks.join(' ') : null);
      if (breaks.length) (broken ??= []).push(`${label} (${breaks.map(side => t(`breakpoint.${side}`)).join(', ')})`);
      setText(title, [`${label}: ${t(`state.${nodeState.state}`)}`, ...breaks.map(side => t(`breakpoint.${side}`))].join('; '));
      if (['running', 'retrying', 'waiting'].includes(nodeState.state)) activePart = part;
      if (nodeState.state !== 'idle') (byState[nodeState.state] ??= []).push(label);
    }
    this.scrollToNode(activePart);
    const descriptions = Object.entries(byState).map(([state, labels]) => `${t(`state.${state}`)}: ${labels.join(', ')}`);
    if (broken) descriptions.push(`${t('graph.breakpoints')}: ${broken.join(', ')}`);
    setAttr(this.svg, 'aria-label', [t('graph.of', { name: this.graph.name ?? '' }), ...descriptions].join('. '));
  }
}
