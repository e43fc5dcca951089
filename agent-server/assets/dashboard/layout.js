// Where the nodes and edges of a graph are drawn: layers from top to bottom, subgraphs inside their node. Pure.

const GAP_X = 20;
const GAP_Y = 27;
const PAD = 11;
const TITLE = 22;
const SWEEPS = 8;
/** More nodes than this are not drawn. */
export const MOST = 400;

/**
 * `measure(text)` is the width of a label. Gives `{width, height, nodes: [{node, x, y, w, h}], edges: [{edge, points}]}`,
 * outer nodes before those inside them.
 */
export function layOut({ nodes, edges }, measure) {
  const known = new Map(nodes.map(node => [node.id, node]));
  const parent = id => {
    const up = known.get(id)?.parent;
    return up !== undefined && up !== null && known.has(up) && up !== id ? up : null;
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
    if (!known.has(edge.from) || !known.has(edge.to)) continue;
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
        const whole = place(node.id, depth + 1);
        inner.set(node.id, whole);
        return { node, w: Math.max(whole.width + PAD * 2, measure(node.label ?? node.id) + 60), h: whole.height + PAD * 2 + TITLE };
      }
      if (node.kind === 'start' || node.kind === 'end') return { node, w: 18, h: 18 };
      return { node, w: Math.min(Math.max(measure(node.label ?? node.id) + 56, 80), 230), h: 32 };
    });
    const laid = oneLevel(boxes, level.get(of) ?? []);
    const out = { width: laid.width, height: laid.height, nodes: [], edges: laid.edges };
    for (const box of laid.boxes) {
      out.nodes.push({ node: box.node, x: box.x, y: box.y, w: box.w, h: box.h, depth, group: inner.has(box.node.id) });
      const whole = inner.get(box.node.id);
      if (!whole) continue;
      const dx = box.x + (box.w - whole.width) / 2;
      const dy = box.y + TITLE + PAD;
      for (const one of whole.nodes) out.nodes.push({ ...one, x: one.x + dx, y: one.y + dy });
      for (const one of whole.edges) out.edges.push({ ...one, points: one.points.map(([x, y]) => [x + dx, y + dy]) });
    }
    return out;
  };
  return place(null, 0);
}

function oneLevel(boxes, links) {
  if (boxes.length === 0) return { width: 0, height: 0, boxes, edges: [] };
  const index = new Map(boxes.map((box, at) => [box.node.id, at]));
  const loops = links.filter(link => link.from === link.to);
  const ways = links
    .filter(link => link.from !== link.to && index.has(link.from) && index.has(link.to))
    .map(link => ({ link, a: index.get(link.from), b: index.get(link.to), back: false }));
  turnBackEdges(boxes, ways);
  const layer = longestPaths(boxes, ways);

  // Every place in a layer: a box, or a bend of an edge that passes by.
  const layers = Array.from({ length: Math.max(...layer) + 1 }, () => []);
  const spots = boxes.map((box, at) => ({ w: box.w, h: box.h, layer: layer[at], up: [], down: [], box }));
  for (const way of ways) {
    let before = spots[way.a];
    way.spots = [before];
    for (let at = layer[way.a] + 1; at < layer[way.b]; at += 1) {
      const bend = { w: 6, h: 0, layer: at, up: [], down: [] };
      spots.push(bend);
      join(before, bend);
      way.spots.push((before = bend));
    }
    join(before, spots[way.b]);
    way.spots.push(spots[way.b]);
  }
  for (const spot of spots) layers[spot.layer].push(spot);
  order(layers);
  const width = across(layers);
  let y = 0;
  for (const row of layers) {
    const height = Math.max(...row.map(spot => spot.h));
    for (const spot of row) {
      spot.y = y + height / 2;
      spot.top = y;
      spot.bottom = y + height;
    }
    y += height + GAP_Y;
  }
  for (const spot of spots) {
    if (!spot.box) continue;
    spot.box.x = spot.x - spot.w / 2;
    spot.box.y = spot.y - spot.h / 2;
  }
  spread(ways);
  const edges = ways.map(({ link, spots: path, back, out, into }) => {
    const points = [];
    path.forEach((spot, at) => {
      if (at === 0) points.push([out, spot.y + spot.h / 2]);
      else if (at === path.length - 1) points.push([into, spot.y - spot.h / 2]);
      else points.push([spot.x, spot.top], [spot.x, spot.bottom]);
    });
    return { edge: link.edge, points: back ? points.reverse() : points, back };
  });
  for (const { edge, from } of loops) {
    const box = boxes[index.get(from)];
    const [right, middle] = [box.x + box.w, box.y + box.h / 2];
    edges.push({ edge, loop: true, points: [[right, middle - 6], [right + 18, middle - 12], [right + 18, middle + 12], [right, middle + 6]] });
  }
  return { width: width + (loops.length > 0 ? 20 : 0), height: y - GAP_Y, boxes, edges };
}

/** Spreads the edges at one side of a box, in the order of their other ends. */
function spread(ways) {
  const sides = new Map();
  const meet = (spot, side, way, far) => {
    const known = sides.get(spot) ?? { out: [], into: [] };
    known[side].push({ way, x: far.x });
    sides.set(spot, known);
  };
  for (const way of ways) {
    meet(way.spots[0], 'out', way, way.spots[1]);
    meet(way.spots.at(-1), 'into', way, way.spots.at(-2));
  }
  for (const [spot, { out, into }] of sides) {
    for (const [side, ends] of [['out', out], ['into', into]]) {
      // Forth and back between the same two: forth at the left at both ends.
      ends.sort((a, b) => a.x - b.x || a.way.back - b.way.back);
      const step = Math.min(16, (spot.w - 16) / Math.max(ends.length, 1));
      ends.forEach((end, at) => (end.way[side] = spot.x + (at - (ends.length - 1) / 2) * Math.max(step, 2)));
    }
  }
}

function join(above, below) {
  above.down.push(below);
  below.up.push(above);
}

/** Edges that lead back to where one came from are laid as if they led forth. */
function turnBackEdges(boxes, ways) {
  const out = boxes.map(() => []);
  for (const way of ways) out[way.a].push(way);
  const seen = boxes.map(() => 0);
  const starts = boxes.map((box, at) => at).sort((a, b) => (boxes[b].node.kind === 'start') - (boxes[a].node.kind === 'start'));
  for (const start of starts) {
    if (seen[start] !== 0) continue;
    const stack = [[start, 0]];
    seen[start] = 1;
    while (stack.length > 0) {
      const top = stack.at(-1);
      const way = out[top[0]][top[1]];
      top[1] += 1;
      if (!way) {
        seen[top[0]] = 2;
        stack.pop();
      } else if (seen[way.b] === 1) {
        way.back = true;
      } else if (seen[way.b] === 0) {
        seen[way.b] = 1;
        stack.push([way.b, 0]);
      }
    }
  }
  for (const way of ways) if (way.back) [way.a, way.b] = [way.b, way.a];
}

function longestPaths(boxes, ways) {
  const layer = boxes.map(() => 0);
  const waits = boxes.map(() => 0);
  for (const way of ways) waits[way.b] += 1;
  const ready = waits.flatMap((count, at) => (count === 0 ? [at] : []));
  while (ready.length > 0) {
    const at = ready.pop();
    for (const way of ways) {
      if (way.a !== at) continue;
      layer[way.b] = Math.max(layer[way.b], layer[at] + 1);
      waits[way.b] -= 1;
      if (waits[way.b] === 0) ready.push(way.b);
    }
  }
  const deepest = Math.max(...layer);
  boxes.forEach((box, at) => {
    if (box.node.kind === 'end') layer[at] = Math.max(deepest, layer[at]);
  });
  return layer;
}

/** Fewer crossings: each layer in the order of the middles of its neighbours, down and up again. */
function order(layers) {
  for (const row of layers) row.forEach((spot, at) => (spot.at = at));
  const middle = (spot, side) => (spot[side].length ? spot[side].reduce((sum, other) => sum + other.at, 0) / spot[side].length : spot.at);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    for (const row of down ? layers : layers.toReversed()) {
      const side = down ? 'up' : 'down';
      for (const spot of row) spot.want = middle(spot, side);
      row.sort((a, b) => a.want - b.want || a.at - b.at);
      row.forEach((spot, at) => (spot.at = at));
    }
  }
}

/** Places across: near the neighbours, never on one another. Gives the width. */
function across(layers) {
  for (const row of layers) {
    let x = 0;
    for (const spot of row) {
      spot.x = x + spot.w / 2;
      x += spot.w + GAP_X;
    }
    for (const spot of row) spot.x -= (x - GAP_X) / 2;
  }
  for (let round = 0; round < 16; round += 1) {
    const down = round % 2 === 0;
    for (const row of down ? layers : layers.toReversed()) {
      for (const spot of row) {
        const near = spot[down ? 'up' : 'down'];
        spot.want = near.length ? near.reduce((sum, other) => sum + other.x, 0) / near.length : spot.x;
      }
      const left = [];
      const right = [];
      row.forEach((spot, at) => {
        const least = at ? left[at - 1] + (row[at - 1].w + spot.w) / 2 + GAP_X : -Infinity;
        left[at] = Math.max(spot.want, least);
      });
      for (let at = row.length - 1; at >= 0; at -= 1) {
        const most = at < row.length - 1 ? right[at + 1] - (row[at + 1].w + row[at].w) / 2 - GAP_X : Infinity;
        right[at] = Math.min(row[at].want, most);
      }
      row.forEach((spot, at) => (spot.x = (left[at] + right[at]) / 2));
    }
  }
  const all = layers.flat();
  const least = Math.min(...all.map(spot => spot.x - spot.w / 2));
  for (const spot of all) spot.x -= least;
  return Math.max(...all.map(spot => spot.x + spot.w / 2));
}
