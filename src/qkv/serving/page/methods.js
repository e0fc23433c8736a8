// Methods of explanation by the names that people know, where that is not the method's own.

const NAMES = {
  rollout: "Attention rollout",
  shapley: "Shapley values",
  "state-gradients": "Layer integrated gradients",
};

/** A method's name, and whether it is the default: the one that measures best. */
export function methodName(method, best) {
  const plain = method.replaceAll("-", " ");
  const name = NAMES[method] ?? plain.charAt(0).toUpperCase() + plain.slice(1);
  return method === best ? `${name} (measures best)` : name;
}
