// What the probes on held-out tasks say, as lines and as a matrix.

export const MODES = {
  free: "free decoding",
  restricted: "admissible actions only",
  exchanged: "another task's procedures",
  silent: "without the banks",
};

// {x: phases finished, lines: CSR of each phase's tasks, names}, of one mode.
export function probeData(run, mode) {
  const probes = (run.probes ?? []).filter((probe) => probe.mode === mode);
  const afters = [...new Set(probes.map((probe) => probe.after_phase))].sort((a, b) => a - b);
  const phases = [...new Set(probes.map((probe) => probe.phase))].sort((a, b) => a - b);
  const at = new Map(probes.map((probe) => [`${probe.phase}/${probe.after_phase}`, probe]));
  return {
    x: afters.map((after) => after + 1),
    names: phases.map((phase) => phaseName(run, phase)),
    lines: phases.map((phase) =>
      afters.map((after) => at.get(`${phase}/${after}`)?.measures.csr.value ?? null)),
    phases, afters, at,
  };
}

export const phaseName = (run, phase) =>
  (run.phases ?? []).find((one) => one.phase === phase)?.name ?? `phase ${phase + 1}`;
