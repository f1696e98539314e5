/* What BertViz asks of d3 and jQuery, and no more, so that its views run without the web: in a page,
 * in a notebook, in a file. `look` gets the box of one view, BertViz's parameters and the renderer.
 * Everything that reacts to the mouse also reacts to the keyboard, and what a token looks at is
 * written out below the picture. No ids are used, so any number of views can share a page. */
function look(box, params, render) {
  const stage = box.querySelector("[data-stage]");
  const said = box.querySelector("output");
  const scale = (x) => (Array.isArray(x) ? x.map(scale) : x / params.unit);
  for (const part of params.attention) part.attn = scale(part.attn);
  const layers = params.include_layers;
  const attention = params.attention[0].attn;
  const tokens = params.attention[0].left_text;
  const chosen = () => stage.querySelector("select");
  const squares = () => [...stage.querySelectorAll("rect[data-head]")];

  // BertViz names parts by id, and an id is one for the whole page.
  const local = (css) => css.replace("#view ", "").replace(/#([\w-]+)/g, '[data-id="$1"]');
  const name = (attribute) => (attribute === "id" ? "data-id" : attribute);
  const value = (v, node, i) => (typeof v === "function" ? v.call(node, node.__data__, i) : v);

  class Selection {
    constructor(groups) { this.groups = groups; }
    each(act) {
      for (const group of this.groups) group.nodes.forEach((node, i) => act(node, i));
      return this;
    }
    map(find) {
      return new Selection(this.groups.map((group) => {
        const nodes = [];
        group.nodes.forEach((node, i) => { const found = find(node); if (found) nodes[i] = found; });
        return { parent: group.parent, nodes };
      }));
    }
    select(css) {
      return this.map((node) => {
        const found = node.querySelector(local(css));
        if (found && node.__data__ !== undefined) found.__data__ = node.__data__;
        return found;
      });
    }
    selectAll(css) {
      const groups = [];
      this.each((node) => groups.push({ parent: node, nodes: [...node.querySelectorAll(local(css))] }));
      return new Selection(groups);
    }
    data(data) {
      for (const group of this.groups) {
        const list = typeof data === "function" ? data(group.parent.__data__) : data;
        group.nodes.forEach((node, i) => { node.__data__ = list[i]; });
        group.waiting = list.map((datum, i) => ({ datum, i })).slice(group.nodes.length);
      }
      return this;
    }
    enter() { this.entering = true; return this; }
    append(tag) {
      const plain = tag.replace("svg:", "");
      const add = (parent, datum) => {
        const node = document.createElementNS("http://www.w3.org/2000/svg", plain);
        if (datum !== undefined) node.__data__ = datum;
        return parent.appendChild(node);
      };
      if (!this.entering) return this.map((node) => add(node, node.__data__));
      return new Selection(this.groups.map(({ parent, waiting }) => {
        const nodes = [];
        for (const { datum, i } of waiting) {
          // A line of weight nought cannot be seen; most are, and a page has many.
          if (plain !== "line" || datum !== 0) nodes[i] = add(parent, datum);
        }
        return { parent, nodes };
      }));
    }
    attr(key, v) {
      return this.each((node, i) => {
        const given = value(v, node, i);
        if (given === null) node.removeAttribute(name(key));
        else node.setAttribute(name(key), given);
      });
    }
    style(key, v) { return this.each((node, i) => node.style.setProperty(key, value(v, node, i))); }
    classed(key, on) { return this.each((node) => node.classList.toggle(key, on)); }
    text(v) { return this.each((node, i) => { node.textContent = value(v, node, i); }); }
    remove() { return this.each((node) => node.remove()); }
    on(type, act) {
      return this.each((node, i) => {
        node.addEventListener(type, () => { act.call(node, node.__data__, i); after(); });
        if (type === "click" || (type === "mouseover" && node.querySelector("text"))) reachable(node);
      });
    }
  }

  // One stop of the Tab key for each row of things; arrows go on from there.
  const kind = (node) => node.tagName + node.closest("[data-id]").dataset.id;
  const peers = (node) => [...stage.querySelectorAll("[tabindex]")].filter((it) => kind(it) === kind(node));
  function reachable(node) {
    if (node.hasAttribute("tabindex")) return;
    node.setAttribute("tabindex", -1);
    node.setAttribute("role", "button");
    const send = (type, to) => to.dispatchEvent(new Event(type));
    node.addEventListener("focus", () => send("mouseover", node));
    node.addEventListener("blur", () => {
      for (let it = node; it !== stage; it = it.parentNode) send("mouseleave", it);
    });
    node.addEventListener("keydown", (event) => {
      const row = params.include_heads && node.tagName === "rect" ? params.include_heads.length : 1;
      const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
      if (step) {
        const all = peers(node);
        const next = all[all.indexOf(node) + step];
        if (next) {
          all.forEach((it) => it.setAttribute("tabindex", it === next ? 0 : -1));
          next.focus();
        }
      } else if (event.key === "Enter" || event.key === " ") {
        send(event.shiftKey ? "dblclick" : "click", node);
      } else return;
      event.preventDefault();
    });
  }

  // After each change: names for what has none, and a way in for the keyboard.
  function after() {
    const svg = stage.querySelector("svg");
    stage.querySelectorAll("rect[tabindex]").forEach((rect) => {
      if (rect.dataset.named) return;
      rect.dataset.named = true;
      const siblings = [...rect.parentNode.querySelectorAll("rect")];
      if (typeof rect.__data__ === "boolean") {
        const number = siblings.indexOf(rect);
        rect.dataset.head = number;
        rect.setAttribute("role", "checkbox");
        rect.setAttribute("aria-label", `head ${number}`);
        const x = +rect.getAttribute("x") + rect.getAttribute("width") / 2;
        d3.select(svg).append("text").text(number).attr("class", "number")
          .attr("x", x).attr("y", +rect.getAttribute("y") + 14);
      } else {
        const [, layer, head] = siblings[0].dataset.id.match(/(\d+)_(\d+)$/);
        rect.setAttribute("aria-label", `layer ${layers[layer]}, head ${params.include_heads[head]}`);
      }
    });
    const numbers = stage.querySelectorAll("text.number");
    squares().forEach((rect, i) => {
      rect.setAttribute("aria-checked", rect.__data__);
      numbers[i].classList.toggle("off", !rect.__data__);
    });
    for (const node of stage.querySelectorAll("[tabindex]")) {
      const all = peers(node);
      if (all[0] === node && !all.some((it) => it.getAttribute("tabindex") === "0")) {
        node.setAttribute("tabindex", 0);
      }
    }
  }

  // What a token of the head view looks at, or is looked at by, in words.
  function say(group) {
    const side = group.closest('[data-id="left"], [data-id="right"]');
    if (!side || !chosen()) return;
    const looks = side.dataset.id === "left";
    const position = [...group.parentNode.children].indexOf(group);
    const layer = attention[layers.indexOf(+chosen().value)];
    const heads = squares().filter((rect) => rect.__data__).map((rect) => +rect.dataset.head);
    const mean = tokens.map((_, other) => heads.reduce(
      (sum, head) => sum + (looks ? layer[head][position][other] : layer[head][other][position]), 0) / heads.length);
    const best = mean.map((weight, i) => [weight, i]).sort((a, b) => b[0] - a[0]).slice(0, 3);
    const many = heads.length === 1 ? `head ${heads[0]}` : `mean of ${heads.length} heads`;
    said.textContent = `“${tokens[position].trim()}” (${position}) ${looks ? "looks at" : "is looked at by"} `
      + best.map(([weight, i]) => `${tokens[i].trim()} (${i}) ${weight.toFixed(2)}`).join(", ")
      + `; layer ${chosen().value}, ${many}`;
  }
  for (const type of ["mouseover", "focusin"]) {
    stage.addEventListener(type, (event) => {
      const group = event.target.closest("g");
      if (group && group.hasAttribute("tabindex")) say(group);
    });
  }

  const d3 = {
    version: "0",
    schemeCategory10: params.colours,
    scaleOrdinal: (colours) => (i) => colours[i % colours.length],
    select: (it) => new Selection([{ nodes: [typeof it === "string" ? stage.querySelector(local(it)) : it] }]),
    hsl: (colour) => ({  // only ever made lighter
      l: 0, s: 0,
      toString: () => "#" + [1, 3, 5].map((k) => Math.round(
        0.25 * parseInt(colour.slice(k, k + 2), 16) + 0.75 * 255).toString(16).padStart(2, "0")).join(""),
    }),
  };
  function $(it) {
    const nodes = typeof it !== "string" ? [it]
      : it.startsWith("<") ? [document.createElement(it.match(/\w+/)[0])]
      : [...stage.querySelectorAll(local(it))];
    const each = (act) => { nodes.forEach(act); return jquery; };
    const jquery = {
      nodes,
      append: (child) => each((node) => node.append(...child.nodes)),
      val: (v) => each((node) => { node.value = v; }),
      text: (v) => each((node) => { node.textContent = v; }),
      attr: (key, v) => each((node) => node.setAttribute(key, v)),
      empty: () => each((node) => node.replaceChildren()),
      change: () => each((node) => node.dispatchEvent(new Event("change"))),
      on: (type, act) => each((node) => node.addEventListener(type, (event) => { act(event); after(); })),
    };
    return jquery;
  }

  render((_, start) => start($, d3), params, { log() {} });
  const svg = stage.querySelector("svg");
  if (params.include_heads) {  // the model view has one width; let it follow the column
    svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
    svg.removeAttribute("width");
    svg.removeAttribute("height");
  }
  after();
  box.querySelector("img").remove();
  box.querySelectorAll("[hidden]").forEach((part) => { part.hidden = false; });
}
