// Noise processes: how signal and noise mix at time t. A sampler needs the level sigma / alpha, its inverse, and, to
// step in the process's own time, alpha and sigma with their slopes. All in float64; formulas and sources as in
// src/brickwork/sampling/process.py.

/** Variance preserving, with a rate beta(t) that rises linearly. Song et al., 2011.13456, Eqs. 29 and 33. */
class Vp {
  constructor({ beta_min = 0.1, beta_max = 20, t_min = 1e-3, t_max = 1 } = {}) {
    Object.assign(this, { low: beta_min, rise: beta_max - beta_min, t_min, t_max });
  }

  // Integral of beta from 0 to t, which is -2 ln alpha.
  noise(t) {
    return t * (this.low + t * (0.5 * this.rise));
  }

  at(t) {
    const total = this.noise(t);
    const beta = this.low + t * this.rise;
    const alpha = Math.exp(-0.5 * total);
    const sigma = Math.sqrt(-Math.expm1(-total));
    return { alpha, sigma, d_alpha: -0.5 * beta * alpha, d_sigma: (0.5 * beta * alpha * alpha) / sigma };
  }

  level(t) {
    return Math.sqrt(Math.expm1(this.noise(t)));
  }

  t_of(level) {
    const total = Math.log1p(level * level);
    return (2 * total) / (this.low + Math.sqrt(this.low * this.low + 2 * this.rise * total));
  }
}

/** Variance preserving in steps 1, 2, ..., t_max; the logarithm of the level is linear between. 2112.10752; 2006.11239. */
class DiscreteVp {
  constructor({ beta_start = 0.00085, beta_end = 0.012, even = "sqrt-beta", t_min = 1, t_max = 1000 } = {}) {
    const count = Math.round(t_max);
    const power = even === "sqrt-beta" ? 0.5 : 1;
    const first = beta_start ** power;
    const step = (beta_end ** power - first) / (count - 1);
    let total = 0;
    this.levels = Array.from({ length: count }, (_, i) => {
      const beta = (i === count - 1 ? beta_end ** power : i * step + first) ** (1 / power);
      total += Math.log1p(-beta);
      return Math.sqrt(Math.expm1(-total));
    });
    Object.assign(this, { t_min, t_max });
  }

  // A whole index kept within the table, the level there, and d ln(level) / dt up to the next.
  segment(index) {
    const kept = Math.min(Math.max(index, 1), this.levels.length - 1);
    const [here, next] = [this.levels[kept - 1], this.levels[kept]];
    return [kept, here, Math.log(next) - Math.log(here)];
  }

  at(t) {
    const slope = this.segment(Math.floor(t))[2];
    const level = this.level(t);
    const d_level = t < 1 ? this.levels[0] : slope * level;
    const alpha = 1 / Math.sqrt(1 + level * level);
    return { alpha, sigma: level * alpha, d_alpha: -level * d_level * alpha ** 3, d_sigma: d_level * alpha ** 3 };
  }

  level(t) {
    const [index, start, slope] = this.segment(Math.floor(t));
    return t < 1 ? t * this.levels[0] : start * Math.exp(slope * (t - index));
  }

  t_of(level) {
    const first = this.levels[0];
    if (level < first) return level / first;
    const passed = this.levels.filter((known) => level >= known).length;
    const [index, start, slope] = this.segment(passed);
    return index + Math.log(level / start) / slope;
  }
}

/** Variance preserving, alpha a cosine. Nichol and Dhariwal, 2102.09672, Eq. 17. */
class Cosine {
  constructor({ offset = 0.008, t_min = 1e-3, t_max = 0.995 } = {}) {
    const speed = (0.5 * Math.PI) / (1 + offset);
    Object.assign(this, { speed, start: offset * speed, t_min, t_max });
  }

  // sqrt(cos^2 u0 - cos^2 u), as a product of sines, which does not cancel at small t.
  root(t) {
    const turned = t * this.speed;
    return Math.sqrt(Math.sin(turned) * Math.sin(turned + 2 * this.start));
  }

  at(t) {
    const u = t * this.speed + this.start;
    const norm = Math.cos(this.start);
    const alpha = Math.cos(u) / norm;
    const sigma = this.root(t) / norm;
    const d_alpha = (-this.speed / norm) * Math.sin(u);
    return { alpha, sigma, d_alpha, d_sigma: (-alpha * d_alpha) / sigma };
  }

  level(t) {
    return this.root(t) / Math.cos(t * this.speed + this.start);
  }

  t_of(level) {
    const tan0 = Math.tan(this.start);
    const rise = (level / Math.cos(this.start)) ** 2;
    const tangent = Math.sqrt(rise + tan0 * tan0);
    return Math.atan(rise / (tangent + tan0) / (1 + tangent * tan0)) / this.speed;
  }
}

/** Time is the noise level. Karras et al., 2206.00364, Table 1. */
export class Edm {
  constructor({ t_min = 0.002, t_max = 80 } = {}) {
    Object.assign(this, { t_min, t_max });
  }

  at(t) {
    return { alpha: 1, sigma: t, d_alpha: 0, d_sigma: 1 };
  }

  level(t) {
    return t;
  }

  t_of(level) {
    return level;
  }
}

/** The straight path from image to noise. Lipman et al., 2210.02747, Sec. 4.1. */
class LinearFlow {
  constructor({ t_min = 1e-3, t_max = 0.999 } = {}) {
    Object.assign(this, { t_min, t_max });
  }

  at(t) {
    return { alpha: 1 - t, sigma: t, d_alpha: -1, d_sigma: 1 };
  }

  level(t) {
    return t / (1 - t);
  }

  t_of(level) {
    return level / (1 + level);
  }
}

export const PROCESSES = { vp: Vp, "discrete-vp": DiscreteVp, cosine: Cosine, edm: Edm, flow: LinearFlow, "sit-flow": LinearFlow };

/** The process that a manifest names: [name, options]. */
export function processOf([name, options]) {
  if (!Object.hasOwn(PROCESSES, name)) throw new Error(`this page knows no noise process "${name}"; pack it again`);
  return new PROCESSES[name](options);
}

export const sigmaMin = (process) => process.level(process.t_min);
export const sigmaMax = (process) => process.level(process.t_max);
