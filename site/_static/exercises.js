// Exercises that run in the page: an editor under each, judged by the library's own check in a worker that runs Python. Pyodide is served by the
// site itself; nothing is loaded before the first click, and a page without such exercises is left alone.
"use strict";

const WORKER = new URL("exercise_worker.js", document.currentScript.src);
const PATIENCE = 20000; // milliseconds for one answer: what takes longer does not end

/** The worker behind all exercises of the page, made anew after an answer that did not end. */
const python = {
  worker: null,
  waiting: new Map(),
  asked: 0,
  ready: null,

  start() {
    if (this.worker) return this.ready;
    const worker = new Worker(WORKER, { type: "module" });
    this.worker = worker;
    this.ready = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => {
        if (data.ready) resolve();
        else if (data.failed) reject(new Error(data.failed));
        else this.waiting.get(data.number)?.(data.verdict);
      };
      worker.onerror = (event) => reject(new Error(event.message || "its files could not be loaded"));
    });
    this.ready.catch(() => this.stop());
    return this.ready;
  },

  stop() {
    this.worker?.terminate();
    this.worker = null;
    this.waiting.clear();
  },

  async judge(exercise, answer) {
    await this.start();
    const number = ++this.asked;
    return new Promise((resolve) => {
      const late = setTimeout(() => {
        this.stop();
        resolve({ right: false, printed: "", said: `stopped after ${PATIENCE / 1000} seconds: does a loop of it never end?` });
      }, PATIENCE);
      this.waiting.set(number, (verdict) => {
        clearTimeout(late);
        this.waiting.delete(number);
        resolve(verdict);
      });
      this.worker.postMessage({ number, given: exercise.given, answer, check: exercise.check });
    });
  },
};

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function editor(exercise) {
  const text = element("textarea", { value: exercise.blank, spellcheck: false, autocapitalize: "off", wrap: "off" });
  text.rows = exercise.blank.split("\n").length + 1;
  text.setAttribute("aria-label", `Your answer to exercise ${exercise.id}`);
  const run = element("button", { type: "button", textContent: "Check" });
  const again = element("button", { type: "button", textContent: "Start over" });
  const told = element("pre", { className: "rrg-told", hidden: true });
  told.setAttribute("role", "status");

  function tell(words, state) {
    told.hidden = false;
    told.textContent = words;
    told.dataset.state = state;
  }

  async function judge() {
    if (run.disabled) return;
    run.disabled = true;
    tell(python.worker ? "Running …" : "Starting Python: some seconds, once a page …", "busy");
    try {
      const start = performance.now();
      await python.start();
      const loaded = performance.now();
      const verdict = await python.judge(exercise, text.value);
      told.dataset.loading = Math.round(loaded - start);
      told.dataset.running = Math.round(performance.now() - loaded);
      tell([verdict.printed.trimEnd(), verdict.right ? "Right." : verdict.said].filter(Boolean).join("\n\n"), verdict.right ? "right" : "wrong");
    } catch (error) {
      tell(`Python could not be started here (${error.message}). The exercise can be solved in its notebook.`, "failed");
    }
    run.disabled = false;
  }

  run.addEventListener("click", judge);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) judge();
  });
  again.addEventListener("click", () => {
    text.value = exercise.blank;
    told.hidden = true;
  });
  return element("div", { className: "rrg-try" }, text, element("div", { className: "rrg-buttons" }, run, again), told);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const script of document.querySelectorAll("script.rrg-exercise")) {
    const exercise = JSON.parse(script.textContent);
    const shown = location.protocol.startsWith("http")
      ? editor(exercise)
      : element("p", {
          className: "rrg-try",
          textContent: "Opened from a file, a page may not start Python. Served (make serve), this exercise can be tried here.",
        });
    script.after(shown);
  }
});
