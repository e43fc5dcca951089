// Layout of a graph: layers from top to bottom, subgraphs inside their node. Pure.

const GAP_X = 20;
const GAP_Y = 27;
const PAD = 11;
const TITLE = 22;
const SWEEPS = 8;
/** More nodes than this are not drawn. */
export const MAX_NODES = 400;

/**
 * `measure(text)` is the width of a label; a node may have a `note`, a second line. Gives `{width, height, nodes: [{node, x, y, w, h}], edges: [{edge, points}]}`,
 * outer nodes before those inside them.
 */
export function layOut({ nodes, edges }, measure) {
  const byId = new Map(nodes.map(node => [node.id, node]));
  const parent = id => {
    const up = byId.get(id)?.parent;
    return up !== undefined && up !== null && byId.has(up) && up !== id ? up : null;
  };
  const chain = id => {
    const up = [];
    for (let at = id; at !== null && up.length < 32; at = parent(at)) up.unshift(at);
    return up;
  };
  const children = new Map();
  for (const node of nodes) {
    const of = parent(node.id);
    children.set(of, [...(children.get(of) ?? []), node]);
  }
  // An edge between levels is drawn where both ends have a place: in their nearest common subgraph.
  const level = new Map();
  for (const edge of edges) {
    if (!byId.has(edge.from) || !byId.has(edge.to)) continue;
    const [a, b] = [chain(edge.from), chain(edge.to)];
    let at = 0;
    while (at < a.length - 1 && at < b.length - 1 && a[at] === b[at]) at += 1;
    const of = at === 0 ? null : a[at - 1];
    level.set(of, [...(level.get(of) ?? []), { edge, from: a[at], to: b[at] }]);
  }
  const place = (of, depth) => {
    const inner = new Map();
    const boxes = (children.get(of) ?? []).map(node => {
      if (depth < 8 && children.has(node.id)) {
        const subgraph = place(node.id, depth + 1);
        inner.set(node.id, subgraph);
        return { node, w: Math.max(subgraph.width + PAD * 2, measure(node.label ?? node.id) + 60 + (node.note ? measure(node.note) : 0)), h: subgraph.height + PAD * 2 + TITLE };
      }
      if (node.kind === 'start' || node.kind === 'end') return { node, w: 18, h: 18 };
      const text = Math.max(measure(node.label ?? node.id), node.note ? measure(node.note) : 0);
      return { node, w: Math.min(Math.max(text + 56, 80), 230), h: node.note ? 44 : 32 };
    });
    const laidOut = oneLevel(boxes, level.get(of) ?? []);
    const out = { width: laidOut.width, height: laidOut.height, nodes: [], edges: laidOut.edges };
    for (const box of laidOut.boxes) {
      out.nodes.push({ node: box.node, x: box.x, y: box.y, w: box.w, h: box.h, depth, group: inner.has(box.node.id) });
      const subgraph = inner.get(box.node.id);
      if (!subgraph) continue;
      const dx = box.x + (box.w - subgraph.width) / 2;
      const dy = box.y + TITLE + PAD;
      for (const one of subgraph.nodes) out.nodes.push({ ...one, x: one.x + dx, y: one.y + dy });
      for (const one of subgraph.edges) out.edges.push({ ...one, points: one.points.map(([x, y]) => [x + dx, y + dy]) });
    }
    return out;
  };
  return place(null, 0);
}

function oneLevel(boxes, links) {
  if (boxes.length === 0) return { width: 0, height: 0, boxes, edges: [] };
  const index = new Map(boxes.map((box, at) => [box.node.id, at]));
  const loops = links.filter(link => link.from === link.to);
  const routes = links
    .filter(link => link.from !== link.to && index.has(link.from) && index.has(link.to))
    .map(link => ({ link, a: index.get(link.from), b: index.get(link.to), reversed: false }));
  reverseBackEdges(boxes, routes);
  const layer = longestPaths(boxes, routes);

  // Cells of the layers: a box, or a bend of an edge that crosses the layer.
  const layers = Array.from({ length: Math.max(...layer) + 1 }, () => []);
  const cells = boxes.map((box, at) => ({ w: box.w, h: box.h, layer: layer[at], up: [], down: [], box }));
  for (const route of routes) {
    let before = cells[route.a];
    route.cells = [before];
    for (let at = layer[route.a] + 1; at < layer[route.b]; at += 1) {
      const bend = { w: 6, h: 0, layer: at, up: [], down: [] };
      cells.push(bend);
      join(before, bend);
      route.cells.push((before = bend));
    }
    join(before, cells[route.b]);
    route.cells.push(cells[route.b]);
  }
  for (const cell of cells) layers[cell.layer].push(cell);
  reduceCrossings(layers);
  const width = placeColumns(layers);
  let y = 0;
  for (const row of layers) {
    const height = Math.max(...row.map(cell => cell.h));
    for (const cell of row) {
      cell.y = y + height / 2;
      cell.top = y;
      cell.bottom = y + height;
    }
    y += height + GAP_Y;
  }
  for (const cell of cells) {
    if (!cell.box) continue;
    cell.box.x = cell.x - cell.w / 2;
    cell.box.y = cell.y - cell.h / 2;
  }
  spread(routes);
  const edges = routes.map(({ link, cells: path, reversed, out, into }) => {
    const points = [];
    path.forEach((cell, at) => {
      if (at === 0) points.push([out, cell.y + cell.h / 2]);
      else if (at === path.length - 1) points.push([into, cell.y - cell.h / 2]);
      else points.push([cell.x, cell.top], [cell.x, cell.bottom]);
    });
    return { edge: link.edge, points: reversed ? points.reverse() : points, reversed };
  });
  for (const { edge, from } of loops) {
    const box = boxes[index.get(from)];
    const [right, middle] = [box.x + box.w, box.y + box.h / 2];
    edges.push({ edge, loop: true, points: [[right, middle - 6], [right + 18, middle - 12], [right + 18, middle + 12], [right, middle + 6]] });
  }
  return { width: width + (loops.length > 0 ? 20 : 0), height: y - GAP_Y, boxes, edges };
}

/** Spreads the edges at one side of a box, in the order of their other ends. */
function spread(routes) {
  const sides = new Map();
  const addEnd = (cell, side, route, far) => {
    const ends = sides.get(cell) ?? { out: [], into: [] };
    ends[side].push({ route, x: far.x });
    sides.set(cell, ends);
  };
  for (const route of routes) {
    addEnd(route.cells[0], 'out', route, route.cells[1]);
    addEnd(route.cells.at(-1), 'into', route, route.cells.at(-2));
  }
  for (const [cell, { out, into }] of sides) {
    for (const [side, ends] of [['out', out], ['into', into]]) {
      // Of two opposite edges between the same boxes, the forward one is at the left at both ends.
      ends.sort((a, b) => a.x - b.x || a.route.reversed - b.route.reversed);
      const step = Math.min(16, (cell.w - 16) / Math.max(ends.length, 1));
      ends.forEach((end, at) => (end.route[side] = cell.x + (at - (ends.length - 1) / 2) * Math.max(step, 2)));
    }
  }
}

function join(above, below) {
  above.down.push(below);
  below.up.push(above);
}

/** Reverses the edges that close a loop. */
function reverseBackEdges(boxes, routes) {
  const out = boxes.map(() => []);
  for (const route of routes) out[route.a].push(route);
  const visited = boxes.map(() => 0);
  const starts = boxes.map((box, at) => at).sort((a, b) => (boxes[b].node.kind === 'start') - (boxes[a].node.kind === 'start'));
  for (const start of starts) {
    if (visited[start] !== 0) continue;
    const stack = [[start, 0]];
    visited[start] = 1;
    while (stack.length > 0) {
      const top = stack.at(-1);
      const route = out[top[0]][top[1]];
      top[1] += 1;
      if (!route) {
        visited[top[0]] = 2;
        stack.pop();
      } else if (visited[route.b] === 1) {
        route.reversed = true;
      } else if (visited[route.b] === 0) {
        visited[route.b] = 1;
        stack.push([route.b, 0]);
      }
    }
  }
  for (const route of routes) if (route.reversed) [route.a, route.b] = [route.b, route.a];
}

function longestPaths(boxes, routes) {
  const layer = boxes.map(() => 0);
  const missing = boxes.map(() => 0);
  for (const route of routes) missing[route.b] += 1;
  const ready = missing.flatMap((count, at) => (count === 0 ? [at] : []));
  while (ready.length > 0) {
    const at = ready.pop();
    for (const route of routes) {
      if (route.a !== at) continue;
      layer[route.b] = Math.max(layer[route.b], layer[at] + 1);
      missing[route.b] -= 1;
      if (missing[route.b] === 0) ready.push(route.b);
    }
  }
  const deepest = Math.max(...layer);
  boxes.forEach((box, at) => {
    if (box.node.kind === 'end') layer[at] = Math.max(deepest, layer[at]);
  });
  return layer;
}

/** Reduces crossings: sorts each layer by the mean position of its neighbours, downwards and upwards. */
function reduceCrossings(layers) {
  for (const row of layers) row.forEach((cell, at) => (cell.at = at));
  const middle = (cell, side) => (cell[side].length ? cell[side].reduce((sum, other) => sum + other.at, 0) / cell[side].length : cell.at);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    for (const row of down ? layers : layers.toReversed()) {
      const side = down ? 'up' : 'down';
      for (const cell of row) cell.wanted = middle(cell, side);
      row.sort((a, b) => a.wanted - b.wanted || a.at - b.at);
      row.forEach((cell, at) => (cell.at = at));
    }
  }
}

/** Sets the horizontal positions: near the neighbours, without overlap. Returns the width. */
function placeColumns(layers) {
  for (const row of layers) {
    let x = 0;
    for (const cell of row) {
      cell.x = x + cell.w / 2;
      x += cell.w + GAP_X;
    }
    for (const cell of row) cell.x -= (x - GAP_X) / 2;
  }
  for (let round = 0; round < 16; round += 1) {
    const down = round % 2 === 0;
    for (const row of down ? layers : layers.toReversed()) {
      for (const cell of row) {
        const neighbors = cell[down ? 'up' : 'down'];
        cell.wanted = neighbors.length ? neighbors.reduce((sum, other) => sum + other.x, 0) / neighbors.length : cell.x;
      }
      const left = [];
      const right = [];
      row.forEach((cell, at) => {
        const minimum = at ? left[at - 1] + (row[at - 1].w + cell.w) / 2 + GAP_X : -Infinity;
        left[at] = Math.max(cell.wanted, minimum);
      });
      for (let at = row.length - 1; at >= 0; at -= 1) {
        const maximum = at < row.length - 1 ? right[at + 1] - (row[at + 1].w + row[at].w) / 2 - GAP_X : Infinity;
        right[at] = Math.min(row[at].wanted, maximum);
      }
      row.forEach((cell, at) => (cell.x = (left[at] + right[at]) / 2));
    }
  }
  const all = layers.flat();
  const minimum = Math.min(...all.map(cell => cell.x - cell.w / 2));
  for (const cell of all) cell.x -= minimum;
  return Math.max(...all.map(cell => cell.x + cell.w / 2));
}
