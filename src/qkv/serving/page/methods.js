// Methods of explanation by the names that people know.

const NAMES = {
  attention_rollout: "Attention rollout",
  attention: "Attention",
  encoder_attention: "Encoder attention",
  gradient_attention: "Gradient-weighted attention",
  integrated_gradients: "Integrated gradients",
  occlusion: "Occlusion",
  pool_weights: "Pool weights",
  relevance: "Relevance",
  rollout: "Attention rollout",
  shapley: "Shapley values",
};

/** A method's name, and whether it is the default: the one that measures best. */
export function methodName(method, best) {
  const key = method.replaceAll("-", "_");
  const plain = key.replaceAll("_", " ");
  const name = NAMES[key] ?? plain.charAt(0).toUpperCase() + plain.slice(1);
  return method === best ? `${name} (measures best)` : name;
}
