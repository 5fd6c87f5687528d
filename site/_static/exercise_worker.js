// Python for the exercises of a page: Pyodide with the library's part for them, loaded once; then one answer after another.
import { loadPyodide } from "./python/pyodide.mjs";

const folder = new URL("./python/", import.meta.url).href;

async function runner() {
  const [pyodide, library] = await Promise.all([
    loadPyodide({ indexURL: folder }),
    fetch(`${folder}library.zip`).then((reply) => (reply.ok ? reply.arrayBuffer() : Promise.reject(new Error(`library.zip: ${reply.status}`)))),
  ]);
  pyodide.FS.writeFile("/library.zip", new Uint8Array(library));
  pyodide.runPython('import sys; sys.path.insert(0, "/library.zip"); from page_runner import judged');
  return pyodide.globals.get("judged");
}

try {
  const judged = await runner();
  self.onmessage = ({ data }) => {
    self.postMessage({ number: data.number, verdict: JSON.parse(judged(data.given, data.answer, data.check)) });
  };
  self.postMessage({ ready: true });
} catch (error) {
  self.postMessage({ failed: String(error.message ?? error) });
}
