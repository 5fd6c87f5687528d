// The explorer: two trained systems, one sampled study, word by word. Its data come by a script tag (EXPLORER), its films
// are pictures beside it or within the data; nothing is fetched, so it works from file:// too.
"use strict";

(() => {
  const VIEWS = ["frontal", "lateral"], GRID = 7, SIZE = 256;
  // A patch is at its strongest at this many times an even share, so that an even map stays pale.
  const STRONG = 4;
  const LOOKS = { cross: "cross-attention", slots: "shared slots" };
  // What a system may look at beside the patches.
  const BESIDE = { adaatt: "its sentinel", mcsam: "the slot of the semantic embedding" };
  const SVG = "http://www.w3.org/2000/svg";

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function shape(tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  const percent = (share) => (share > 0 && share < 0.01 ? "under 1 %" : `${Math.round(100 * share)} %`);

  // A word's map: the share of each patch, frontal first; null where the word and no patch have anything in common.
  function sharesOf(look, word, levels) {
    const count = VIEWS.length * GRID * GRID, peak = look.peaks[word];
    if (!peak) return null;
    look.bytes = look.bytes || atob(look.maps);
    return Array.from({ length: count }, (_, i) => (look.bytes.charCodeAt(word * count + i) * peak) / levels);
  }

  function drawFilm(film, study, view, shares, peak, boxes, finding) {
    const layer = film.querySelector("svg"), side = SIZE / GRID, full = Math.max(peak, STRONG / (VIEWS.length * GRID * GRID));
    layer.replaceChildren();
    if (shares) {
      for (let i = 0; i < GRID * GRID; i++) {
        const share = shares[view * GRID * GRID + i];
        const at = { x: (i % GRID) * side, y: Math.floor(i / GRID) * side, width: side, height: side };
        layer.append(shape("rect", { ...at, class: "heat", "fill-opacity": ((0.75 * share) / full).toFixed(3) }));
        if (share === peak) layer.append(shape("rect", { ...at, class: "peak" }));
      }
    }
    for (const [name, where, x0, y0, x1, y1] of boxes ? study.boxes : []) {
      if (where !== view) continue;
      const asked = name === finding;
      layer.append(shape("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: asked ? "box asked" : "box" }));
      const label = shape("text", { x: Math.min(x0 + 2, SIZE - 7.6 * name.length), y: Math.max(y0 - 4, 13) });
      label.textContent = name;
      layer.append(label);
    }
  }

  class Pane {
    constructor(explorer, side) {
      this.explorer = explorer;
      this.side = side;
      this.title = element("h3");
      this.from = element("p", { class: "explorer-from" });
      this.report = element("div", { class: "explorer-report", role: "group" });
      this.verdict = element("p", { class: "explorer-verdict" });
      this.films = {};
      const looks = Object.entries(LOOKS).map(([look, name]) => {
        const films = VIEWS.map((view) => {
          const film = element("div", { class: "explorer-film" }, element("img", { width: SIZE, height: SIZE }));
          film.append(shape("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, "aria-hidden": "true" }));
          return film;
        });
        const words = element("span", { class: "explorer-said" });
        const figure = element("figure", { class: "explorer-look", "data-look": look }, element("div", { class: "explorer-films" }, ...films));
        figure.append(element("figcaption", {}, element("strong", {}, name), words));
        this.films[look] = { films, words, figure };
        return figure;
      });
      this.chances = element("ol", { class: "explorer-chances" });
      this.told = element("p", { class: "explorer-told", role: "status" });
      this.node = element("section", { class: "explorer-pane" }, this.title, this.from, this.report, this.verdict, this.told);
      this.node.append(...looks);
      this.node.append(element("h4", {}, "What it might have said here"), this.chances);
      this.report.addEventListener("keydown", (event) => this.key(event));
    }

    show(system, word) {
      this.system = system;
      const study = this.explorer.study;
      this.result = system.reports[this.explorer.at];
      this.words = this.result.words.map((id) => this.explorer.data.words[id]);
      this.title.textContent = system.preset;
      this.node.setAttribute("aria-label", `${this.side} system: ${system.preset}`);
      const labels = system.labels ? ` Its memory is told the labels of: ${system.labels}.` : "";
      this.from.textContent =
        `${system.row}; trained on ${system.dataset} (${system.profile}, seed ${system.seed}); run ` +
        `${system.experiment}, weights ${system.weights}.${labels}`;
      this.verdict.textContent = this.findings(study.findings);
      this.report.setAttribute("aria-label", `Report by ${system.preset}; arrow keys move from word to word`);
      const named = new Map(this.result.mentions.flatMap((m) => m.words.map((at) => [at, m])));
      this.mention = (at) => named.get(at);
      this.buttons = this.words.map((text, at) => {
        const button = element("button", { type: "button", tabindex: "-1" }, text);
        if (named.has(at)) button.className = named.get(at).drawn ? "names there" : "names";
        button.addEventListener("mouseenter", () => this.held === null && this.pick(at));
        button.addEventListener("focus", () => this.pick(at));
        button.addEventListener("click", () => this.hold(at));
        return button;
      });
      this.report.replaceChildren(...this.buttons.flatMap((button) => [button, " "]));
      for (const { films } of Object.values(this.films)) {
        films.forEach((film, view) => {
          const picture = film.querySelector("img");
          picture.src = this.explorer.film(study, view);
        });
      }
      this.held = null;
      this.pick(Math.min(word, this.words.length - 1));
    }

    // What the whole report names of what is drawn.
    findings(drawn) {
      const named = [...new Set(this.result.mentions.map((mention) => mention.finding))];
      const lists = {
        "Named and drawn": named.filter((finding) => drawn.includes(finding)),
        "Drawn, not named": drawn.filter((finding) => !named.includes(finding)),
        "Named, not drawn": named.filter((finding) => !drawn.includes(finding)),
      };
      const said = Object.entries(lists).flatMap(([what, list]) => (list.length ? [`${what}: ${list.join(", ")}.`] : []));
      return said.join(" ") || "No finding is named, and none is drawn.";
    }

    // A word that was clicked stays while the pointer passes over others; a second click lets it go.
    hold(at) {
      this.held = this.held === at ? null : at;
      this.buttons[at].focus();
      this.pick(at);
    }

    pick(at) {
      this.at = at;
      this.buttons.forEach((button, i) => {
        button.tabIndex = i === at ? 0 : -1;
        if (i === at) button.setAttribute("aria-current", "true");
        else button.removeAttribute("aria-current");
        button.setAttribute("aria-pressed", i === this.held);
      });
      const mention = this.mention(at), study = this.explorer.study;
      const named = mention ? ` It names ${mention.finding}, which is ${mention.drawn ? "" : "not "}drawn in this study.` : "";
      this.told.textContent = `Word ${at + 1} of ${this.words.length}: “${this.words[at]}”.${named}`;
      for (const [look, { films, words }] of Object.entries(this.films)) {
        const kept = this.result.looks[look];
        const shares = kept ? sharesOf(kept, at, this.explorer.data.levels) : null, peak = shares ? Math.max(...shares) : 0;
        films.forEach((film, view) => {
          drawFilm(film, study, view, shares, peak, this.explorer.boxes.checked, mention && mention.finding);
          film.querySelector("img").alt =
            `Drawn ${VIEWS[view]} film of ${study.id} (${study.findings.join(", ") || "no finding"})` +
            (shares ? `, with the ${LOOKS[look]} of “${this.words[at]}” over it` : "");
        });
        words.textContent = this.lookWords(look, kept, shares, peak, mention);
      }
      const written = this.words[at];
      this.chances.replaceChildren(
        ...this.result.chances[at].map(([id, steps]) => this.chance(this.explorer.data.words[id], steps / 10000, written)),
      );
      if (!this.result.chances[at].some(([id]) => this.explorer.data.words[id] === written))
        this.chances.append(this.chance(written, this.result.written[at] / 10000, written));
    }

    chance(word, share, written) {
      const bar = element("span", { class: "explorer-bar", "aria-hidden": "true" });
      bar.style.width = `${Math.max(0.5, 100 * share)}%`;
      const text = `${word} ${share < 0.001 ? "under 0.1" : (100 * share).toFixed(1)} %`;
      return element("li", word === written ? { class: "written" } : {}, text + (word === written ? " ← written" : ""), bar);
    }

    lookWords(look, kept, shares, peak, mention) {
      if (!kept) return this.system.preset === "mem"
        ? ": none. Image and words ask a memory each, so no slot is shared."
        : ": none. This system has no memory that image and words both ask.";
      if (!shares) return ": this word and no patch ask a slot together.";
      const top = shares.indexOf(peak), place = top % (GRID * GRID);
      let text =
        `: strongest in the ${VIEWS[Math.floor(top / (GRID * GRID))]} film, row ${Math.floor(place / GRID) + 1}, column ` +
        `${(place % GRID) + 1} of ${GRID} (${percent(peak)}; an even map has ${percent(1 / shares.length)} a patch).`;
      if (look === "cross" && this.result.on_patches[this.at] < 0.995)
        text += ` Of the attention, ${percent(this.result.on_patches[this.at])} is on patches, the rest on ` +
          `${BESIDE[this.system.preset] || "what stands beside them"}.`;
      if (mention && mention.drawn) {
        const inside = mention.inside[look][mention.words.indexOf(this.at)];
        text += ` In the boxes of ${mention.finding}: ${percent(inside)}, their share of the area: ${percent(mention.chance)}.`;
      }
      return text;
    }

    key(event) {
      const last = this.words.length - 1;
      const to = {
        ArrowRight: this.at + 1, ArrowLeft: this.at - 1, Home: 0, End: last,
        ArrowDown: this.below(1), ArrowUp: this.below(-1),
      }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation(); // the theme turns pages with the arrows
      const next = Math.max(0, Math.min(last, to));
      if (this.held !== null) this.held = next;
      this.buttons[next].focus();
    }

    // The word under or over this one: on the next line, the nearest to its middle.
    below(step) {
      const middle = (button) => { const box = button.getBoundingClientRect(); return [box.left + box.width / 2, box.top]; };
      const [x, y] = middle(this.buttons[this.at]);
      const places = this.buttons.map((button, i) => [i, ...middle(button)]).filter(([, , top]) => step * (top - y) > 4);
      if (!places.length) return this.at;
      const line = step * Math.min(...places.map(([, , top]) => step * top));
      const near = places.filter(([, , top]) => Math.abs(top - line) < 4).sort((a, b) => Math.abs(a[1] - x) - Math.abs(b[1] - x));
      return near[0][0];
    }
  }

  class Explorer {
    constructor(root, data) {
      this.data = data;
      const systems = () => data.systems.map((s, i) => element("option", { value: i }, s.preset));
      const studies = data.studies.map((s, i) =>
        element("option", { value: i }, `${i + 1} of ${data.studies.length}: ${s.findings.join(", ") || "no finding"}`));
      this.choice = element("select", { id: "explorer-study" }, ...studies);
      this.sides = ["Left", "Right"].map((side) => element("select", { id: `explorer-${side.toLowerCase()}` }, ...systems()));
      this.boxes = element("input", { type: "checkbox", id: "explorer-boxes" });
      this.boxes.checked = true;
      const labelled = (control, text) => element("label", { for: control.id }, text, control);
      const controls = element("div", { class: "explorer-controls" }, labelled(this.choice, "Study "));
      controls.append(labelled(this.sides[0], "First system "), labelled(this.sides[1], "Second system "));
      controls.append(labelled(this.boxes, "Boxes of the findings "));
      this.reference = element("p", { class: "explorer-reference" });
      this.panes = [new Pane(this, "First"), new Pane(this, "Second")];
      const both = element("div", { class: "explorer-panes" }, ...this.panes.map((pane) => pane.node));
      root.replaceChildren(controls, this.reference, both);
      this.choice.value = data.start.study;
      data.start.systems.forEach((at, i) => { this.sides[i].value = at; });
      this.choice.addEventListener("change", () => this.show([0, 0]));
      this.sides.forEach((side) => side.addEventListener("change", () => this.show([0, 0])));
      this.boxes.addEventListener("change", () => this.panes.forEach((pane) => pane.pick(pane.at)));
      this.show(data.start.words);
    }

    // Where a picture lies: in a folder, or within the data.
    film(study, view) {
      const films = this.data.films;
      return typeof films === "string" ? `${films}/${study.id}-${VIEWS[view]}.webp` : films[study.id][view];
    }

    show(words) {
      this.at = Number(this.choice.value);
      this.study = this.data.studies[this.at];
      this.reference.replaceChildren(element("strong", {}, "Reference, as the grammar wrote it: "), this.study.report);
      this.panes.forEach((pane, i) => pane.show(this.data.systems[Number(this.sides[i].value)], words[i]));
      for (const look of Object.keys(LOOKS)) { // what neither system has is not shown
        const none = this.panes.every((pane) => !pane.result.looks[look]);
        this.panes.forEach((pane) => { pane.films[look].figure.hidden = none; });
      }
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("explorer");
    if (root && window.EXPLORER) new Explorer(root, window.EXPLORER);
  });
})();
