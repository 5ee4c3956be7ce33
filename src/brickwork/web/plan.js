// How many parts of a model run at which noise level: "3@5.84,2@0.31,1" is 3 parts where sigma >= 5.84, 2 where
// sigma >= 0.31, then 1. Levels are compared in float32, as denoisers get them.

/** A plan from its text; a plain number runs so many parts throughout. */
export function parsePlan(text) {
  const rows = text.split(",").map((word) => {
    const found = /^\s*(\d{1,9})(?:@([0-9.e+-]+))?\s*$/.exec(word);
    if (!found) throw new Error(`plan "${text}": "${word}" is not parts@level; write it as 3@5.84,2`);
    return { parts: Number(found[1]), level: found[2] === undefined ? null : Math.fround(Number(found[2])) };
  });
  const good = rows.every(({ parts, level }, i) => {
    if (parts < 1 || (level === null) !== (i === rows.length - 1)) return false;
    return level === null || (level > 0 && level < Infinity && (i === 0 || level < rows[i - 1].level));
  });
  if (!good) throw new Error(`plan "${text}": levels fall from above 0, and the last number stands alone`);
  return rows;
}

/** The number of parts that run at a waist level. */
export function partsAt(plan, sigma) {
  const single = Math.fround(sigma);
  return plan.find(({ level }) => level === null || single >= level).parts;
}

/** All numbers of parts of a plan, rising. */
export const countsOf = (plan) => [...new Set(plan.map(({ parts }) => parts))].sort((a, b) => a - b);
