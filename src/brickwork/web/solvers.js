// One step from a noise level to a lower one, at the waist, where dx/ds = (x - D(x, s)) / s for every process.
// Formulas, order of operations and sources as in src/brickwork/sampling/solvers.py. Levels are float64, x is float32.
//
// step({denoise, noise}, x, s, next, memory) resolves to [x at level next, memory]. denoise(x, s) resolves to an
// estimate of the image; noise() gives fresh standard normal numbers; memory is what the last step returned, [] at first.

import { add, divide, scale, subtract } from "./arrays.js";

/** DDIM; with eta = 0 the Euler step. Song et al., 2010.02502, Eqs. 12 and 16. */
class Ddim {
  constructor({ eta = 0 } = {}) {
    this.eta = eta;
    this.calls = 1;
  }

  async step({ denoise, noise }, x, s, next, memory) {
    const d = await denoise(x, s);
    const tau = this.eta * next * Math.sqrt(1 - (next / s) ** 2);
    x = add(d, scale(Math.sqrt(next ** 2 - tau ** 2) / s, subtract(x, d)));
    return [tau > 0 ? add(x, scale(tau, noise())) : x, memory];
  }
}

/** Heun's second-order step, after a churn that adds noise. Karras et al., 2206.00364, Algorithms 1 and 2. */
class Heun {
  constructor({ churn = 0, churn_min = 0, churn_max = Infinity, churn_noise = 1 } = {}, process, steps) {
    Object.assign(this, { churn, churn_min, churn_max, churn_noise, steps, calls: 2 });
  }

  gamma(s) {
    if (this.churn === 0 || s < this.churn_min || s > this.churn_max) return 0;
    return Math.min(this.churn / this.steps, Math.sqrt(2) - 1);
  }

  async step({ denoise, noise }, x, s, next, memory) {
    const gamma = this.gamma(s);
    if (gamma > 0) {
      // In Python s * sqrt(...) * churn_noise is a number before it meets the array.
      x = add(x, scale(s * Math.sqrt(gamma * (2 + gamma)) * this.churn_noise, noise()));
      s = s * (1 + gamma);
    }
    const d = await denoise(x, s);
    if (next === 0) return [d, memory];
    const slope = divide(subtract(x, d), s);
    const ahead = add(x, scale(next - s, slope));
    const slopeNext = divide(subtract(ahead, await denoise(ahead, next)), next);
    return [add(x, scale((next - s) * 0.5, add(slope, slopeNext))), memory];
  }
}

/** DPM-Solver++ multistep of order 2 or 3. Lu et al., 2211.01095, Algorithm 2; docs/derivations/waist.md. */
class DpmSolverPP {
  constructor({ order = 2, half_curvature = false } = {}) {
    Object.assign(this, { order, half_curvature, calls: 1 });
  }

  async step({ denoise }, x, s, next, memory) {
    const d = await denoise(x, s);
    const past = [[-Math.log(s), d], ...memory].slice(0, this.order);
    if (next === 0) return [d, past];
    const h = Math.log(s / next);
    const whole = -Math.expm1(-h); // 1 - e^-h
    x = subtract(x, scale(whole, subtract(x, d)));
    if (past.length === 1) return [x, past];
    let slope = difference(past[0], past[1]);
    if (past.length === 2) return [add(x, scale(0.5 * h * whole, slope)), past];
    const bend = divide(subtract(slope, difference(past[1], past[2])), past[0][0] - past[2][0]); // half of D''
    slope = add(slope, scale(past[0][0] - past[1][0], bend));
    const curvature = this.half_curvature ? bend : scale(2, bend);
    x = add(x, scale(h - whole, slope));
    return [add(x, scale(0.5 * h * h - h + whole, curvature)), past];
  }
}

const difference = ([later, a], [earlier, b]) => divide(subtract(a, b), later - earlier);

/** Euler-Maruyama on the reverse SDE, in the process's own time and space. Song et al., 2011.13456, Eq. 6. */
class EulerMaruyama {
  constructor(options, process) {
    this.process = process;
    this.calls = 1;
  }

  async step({ denoise, noise }, x, s, next, memory) {
    const t = this.process.t_of(s);
    const tNext = next > 0 ? this.process.t_of(next) : 0;
    const dt = tNext - t;
    const { alpha, sigma, d_alpha, d_sigma } = this.process.at(t);
    const drift = d_alpha / alpha;
    const g2 = 2 * sigma * (d_sigma - drift * sigma);
    let own = scale(alpha, x);
    const score = divide(subtract(scale(alpha, await denoise(x, s)), own), sigma ** 2);
    own = add(own, scale(dt, subtract(scale(drift, own), scale(g2, score))));
    if (next === 0) return [own, memory];
    own = add(own, scale(Math.sqrt(g2 * -dt), noise()));
    return [divide(own, this.process.at(tNext).alpha), memory];
  }
}

const withOrder = (order) =>
  class extends DpmSolverPP {
    constructor(options) {
      super({ ...options, order });
    }
  };

export const SOLVERS = {
  ddim: Ddim,
  euler: Ddim,
  heun: Heun,
  dpm2m: withOrder(2),
  dpm3m: withOrder(3),
  "euler-maruyama": EulerMaruyama,
};

/** A solver: [name, options], bound to a run. */
export const solverOf = ([name, options], process, steps) => new SOLVERS[name](options, process, steps);
