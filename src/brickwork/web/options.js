// Words of a command line as values: a name, and options behind a colon, as in "heun:churn=10,churn_noise=1.003".

/** [name, options] of a word, where the table has the name. */
export function choose(kind, text, table) {
  const colon = text.indexOf(":");
  const name = colon < 0 ? text : text.slice(0, colon);
  if (!Object.hasOwn(table, name)) {
    throw new Error(`no ${kind} named "${name}"; there are ${Object.keys(table).join(", ")}`);
  }
  const words = colon < 0 ? [] : text.slice(colon + 1).split(",").filter(Boolean);
  return [name, Object.fromEntries(words.map(option))];
}

function option(word) {
  const [key, value = ""] = word.split("=");
  const known = { true: true, false: false, inf: Infinity }[value.toLowerCase()];
  const number = Number(value);
  if (known === undefined && (value.trim() === "" || Number.isNaN(number))) {
    throw new Error(`"${word}" is no option: write it as churn=10`);
  }
  return [key, known ?? number];
}
