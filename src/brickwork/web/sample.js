// Seed → noise → one loop over noise levels → a picture in model space. Knows the waist and nothing behind it.

import { scale } from "./arrays.js";
import { normal } from "./gaussian.js";
import { levels } from "./grid.js";
import { solverOf } from "./solvers.js";

/**
 * Draw one picture; resolves to it, (C, H, W) flat, or to null where it was stopped.
 * @param {object} how
 * @param how.denoise denoise(x, s) resolves to an estimate of the image; guided, its condition bound
 * @param how.process of the model
 * @param {number} how.size numbers in x
 * @param {bigint} how.seed
 * @param {number} how.steps
 * @param how.solver [name, options]
 * @param how.grid [name, options]
 * @param how.onStep told after each step: its number from 0, the latest estimate, the level, and how long it took (ms);
 *   resolves to false to stop
 */
export async function sample({ denoise, process, size, seed, steps, solver, grid, onStep = () => true }) {
  const sigmas = levels(grid, process, steps);
  const method = solverOf(solver, process, steps);
  let draw = 0;
  let latest = null;
  const tools = {
    noise: () => normal(seed, ++draw, size), // draw 0 is the start
    denoise: async (at, s) => (latest = await denoise(at, s)),
  };
  let x = scale(sigmas[0], normal(seed, 0, size));
  let memory = [];
  for (let i = 0; i < steps; i++) {
    const start = performance.now();
    [x, memory] = await method.step(tools, x, sigmas[i], sigmas[i + 1], memory);
    const took = performance.now() - start;
    if ((await onStep(i, latest, sigmas[i + 1], took)) === false) return null;
  }
  return x;
}
