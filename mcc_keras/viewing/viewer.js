// Draws the scene of this page with NiiVue. `document.body.dataset.state` is "drawn" or "failed" at the end.
"use strict";

const find = id => document.getElementById(id);
const scene = JSON.parse(find("scene").textContent);

function complain(problem) {
  find("problem").textContent = String(problem?.message ?? problem);
  document.body.dataset.state = "failed";
}

addEventListener("error", event => complain(event.error ?? event.message));
addEventListener("unhandledrejection", event => complain(event.reason));

async function voxels(layer) {
  if (layer.url === null) {
    const text = find(layer.id).textContent;
    const bytes = Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    return bytes.buffer;
  }
  const answer = await fetch(layer.url);
  if (!answer.ok) throw new Error(`${layer.url}: ${answer.status} ${answer.statusText}`);
  return answer.arrayBuffer();
}

function colormap(layer) {
  const colors = [[0, 0, 0], ...layer.colors];
  const channel = index => colors.map(color => color[index]);
  return { R: channel(0), G: channel(1), B: channel(2), A: colors.map((_, index) => index ? 255 : 0),
           I: colors.map((_, index) => index), labels: ["", ...scene.names] };
}

async function load(nv, layer) {
  const isMask = "colors" in layer;
  const [low, high] = isMask ? [0, scene.names.length] : scene.window;
  const volume = await niivue.NVImage.loadFromUrl({
    url: await voxels(layer), name: `${layer.id}.nii`, colormap: "gray", opacity: isMask ? Number(find("opacity").value) : 1,
    cal_min: low, cal_max: high, colorbarVisible: false,
  });
  if (isMask) volume.setColormapLabel(colormap(layer));
  nv.addVolume(volume);
}

function describe(location) {
  const [x, y, z] = Array.from(location.mm, value => value.toFixed(1));
  const values = location.values.map((found, index) => {
    const layer = scene.layers[index];
    if (layer === undefined) return null;
    if (!("colors" in layer)) return `value ${Number(found.value.toPrecision(6))}`;
    return found.value ? `${layer.name}: ${scene.names[Math.round(found.value) - 1]}` : null;
  });
  return [`x ${x}, y ${y}, z ${z} mm`, ...values.filter(Boolean)].join(" · ");
}

function connect(nv) {
  const shown = number => document.querySelector(`[data-mask="${number}"]`).checked;
  const [least, most] = scene.range;
  const mixMasks = () => scene.layers.slice(1).forEach(
    (_, index) => nv.setOpacity(index + 1, shown(index + 1) ? Number(find("opacity").value) : 0));
  const setWindow = () => {
    const [low, high] = ["low", "high"].map(id => least + (most - least) * Number(find(id).value));
    nv.volumes[0].cal_min = low;
    nv.volumes[0].cal_max = Math.max(high, low + 1e-6);
    nv.updateGLVolume();
  };
  const showWindow = () => [["low", "cal_min"], ["high", "cal_max"]].forEach(([id, name]) => {
    find(id).value = (nv.volumes[0][name] - least) / (most - least || 1);
  });
  find("opacity").addEventListener("input", mixMasks);
  document.querySelectorAll("[data-mask]").forEach(box => box.addEventListener("change", mixMasks));
  find("planes").addEventListener("change", event => nv.setSliceType(Number(event.target.value)));
  ["low", "high"].forEach(id => find(id).addEventListener("input", setWindow));
  nv.onIntensityChange = showWindow;
  showWindow();
}

// Four pictures share the longer side of the canvas. A thinner cross would miss whole pixels.
function pixelsInMm(pixels) {
  const { clientWidth, clientHeight } = find("canvas");
  return pixels * 4 * scene.extentMm / Math.max(clientWidth, clientHeight, 1);
}

async function draw() {
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new Error("This browser has no WebGL 2. Turn hardware acceleration on, or open the page in another browser.");
  }
  const nv = new niivue.Niivue({
    isRadiologicalConvention: true, sagittalNoseLeft: false, isNearestInterpolation: true, show3Dcrosshair: true,
    dragAndDropEnabled: false, isColorbar: false, isResizeCanvas: true, crosshairColor: [1, 1, 1, 0.6],
    crosshairWidthUnit: "mm", crosshairWidth: pixelsInMm(1.2),
    backColor: [0.063, 0.071, 0.086, 1], fontColor: [0.8, 0.84, 0.88, 1], logLevel: "error",
    multiplanarShowRender: 1,
  });
  nv.onLocationChange = location => { find("place").textContent = describe(location); };
  await nv.attachToCanvas(find("canvas"));
  for (const layer of scene.layers) await load(nv, layer);
  nv.setSliceType(Number(find("planes").value));
  nv.scene.crosshairPos = nv.mm2frac(scene.cross, 0, true);
  connect(nv);
  nv.drawScene();
  nv.createOnLocationChange();
  document.body.dataset.state ??= "drawn";
}

draw().catch(complain);
