// A picture under the fingers: zoom by wheel, pinch and double tap; drag it when it is large;
// at its own size a swipe leads to its neighbours, and a swipe down away.

const MOST = 8;
const DOUBLE = 2.5;
const DOUBLE_MS = 300;
// Pixels: what is still a tap, and what is a swipe.
const SLOP = 10;
const SWIPE = 64;
// Pixels per millisecond: a flick may be shorter.
const FLICK = 0.5;

const between = (least, value, most) => Math.min(Math.max(value, least), most);
const distance = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y);
const middle = ([a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });

/**
 * Make the picture in a stage zoomable. `leaf(step)` shows the neighbour at that side and says
 * whether there is one; `leave()` closes; `changed(scale)` hears of every zoom.
 */
export function zoomable({ stage, image, leaf, leave, changed }) {
  const fingers = new Map();
  let scale = 1;
  let x = 0;
  let y = 0;
  let gesture = null;
  let tapped = { at: 0, x: 0, y: 0 };

  function draw({ smooth = false } = {}) {
    image.classList.toggle("is-moving", !smooth);
    image.style.transform = `translate3d(${x}px, ${y}px, 0) scale(${scale})`;
    stage.classList.toggle("is-zoomed", scale > 1);
  }

  /** Keep the picture's edges outside of the stage's, or the picture in its middle. */
  function clamp() {
    const { clientWidth, clientHeight } = stage;
    const spareX = Math.max(0, (image.offsetWidth * scale - clientWidth) / 2);
    const spareY = Math.max(0, (image.offsetHeight * scale - clientHeight) / 2);
    x = between(-spareX, x, spareX);
    y = between(-spareY, y, spareY);
  }

  /** Zoom so that what lies under a point of the screen stays there. */
  function zoomTo(value, point, { smooth = false } = {}) {
    const next = between(1, value, MOST);
    const box = stage.getBoundingClientRect();
    const dx = point.x - (box.left + box.width / 2);
    const dy = point.y - (box.top + box.height / 2);
    x = dx - ((dx - x) * next) / scale;
    y = dy - ((dy - y) * next) / scale;
    scale = next;
    clamp();
    draw({ smooth });
    changed(scale);
  }

  function centre() {
    const box = stage.getBoundingClientRect();
    return { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  }

  function reset({ smooth = false } = {}) {
    const before = scale;
    [scale, x, y] = [1, 0, 0];
    stage.style.removeProperty("--gone");
    draw({ smooth });
    if (before !== 1) changed(1);
  }

  const toggle = (point) => (scale > 1 ? reset({ smooth: true }) : zoomTo(DOUBLE, point, { smooth: true }));

  // ---------------------------------------------------------------- wheel and mouse
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    // A pinch on a touchpad comes as a wheel with Ctrl, in small steps.
    const step = event.deltaY * (event.deltaMode === 1 ? 16 : 1) * (event.ctrlKey ? 0.01 : 0.002);
    zoomTo(scale * Math.exp(-step), { x: event.clientX, y: event.clientY });
  }, { passive: false });

  // ---------------------------------------------------------------- fingers
  const isControl = (event) => event.target.closest("button, a");

  stage.addEventListener("pointerdown", (event) => {
    if (isControl(event) || (event.pointerType === "mouse" && event.button !== 0)) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    stage.setPointerCapture(event.pointerId);
    begin(event.pointerType);
  });

  function begin(kind) {
    const points = [...fingers.values()];
    gesture = {
      kind: points.length > 1 ? "pinch" : "press",
      pointer: kind,
      start: points.length > 1 ? middle(points) : { ...points[0] },
      spread: points.length > 1 ? distance(points) : 0,
      at: performance.now(),
      scale,
      x,
      y,
    };
  }

  stage.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId) || !gesture) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const points = [...fingers.values()];
    if (gesture.kind === "pinch") {
      if (points.length < 2) return;
      const at = middle(points);
      zoomTo((gesture.scale * distance(points)) / gesture.spread, at);
      x += at.x - gesture.start.x;
      y += at.y - gesture.start.y;
      gesture.start = at;
      clamp();
      draw();
      return;
    }
    const dx = points[0].x - gesture.start.x;
    const dy = points[0].y - gesture.start.y;
    if (gesture.kind === "press" && Math.hypot(dx, dy) > SLOP) gesture.kind = direction(dx, dy);
    if (gesture.kind === "pan") {
      [x, y] = [gesture.x + dx, gesture.y + dy];
      clamp();
      draw();
    } else if (gesture.kind === "swipe") {
      x = dx;
      draw();
    } else if (gesture.kind === "leave") {
      y = Math.max(0, dy);
      stage.style.setProperty("--gone", between(0, y / stage.clientHeight, 1));
      draw();
    }
  });

  function direction(dx, dy) {
    if (gesture.scale > 1) return "pan";
    // With a mouse one clicks the arrows; a drag is nothing.
    if (gesture.pointer === "mouse") return "nothing";
    if (Math.abs(dx) > Math.abs(dy)) return "swipe";
    return dy > 0 ? "leave" : "nothing";
  }

  function end(event) {
    if (!fingers.delete(event.pointerId) || !gesture) return;
    if (fingers.size) {
      // One finger of two is left: it goes on dragging.
      begin(gesture.pointer);
      gesture.kind = scale > 1 ? "pan" : "nothing";
      return;
    }
    const { kind, at, start } = gesture;
    const moved = { x: event.clientX - start.x, y: event.clientY - start.y };
    const seconds = Math.max(1, performance.now() - at);
    gesture = null;
    if (event.type === "pointercancel") reset({ smooth: true });
    else if (kind === "press") tap(event);
    else if (kind === "swipe") finishSwipe(moved.x, seconds);
    else if (kind === "leave") finishLeave(moved.y, seconds);
    else if (scale === 1) reset({ smooth: true });
  }

  const isFar = (way, ms) => Math.abs(way) > SWIPE || (Math.abs(way) > SLOP && Math.abs(way) / ms > FLICK);

  function finishSwipe(way, ms) {
    if (isFar(way, ms) && leaf(way < 0 ? 1 : -1)) return;
    reset({ smooth: true });
  }

  function finishLeave(way, ms) {
    if (way > 0 && isFar(way, ms)) leave();
    else reset({ smooth: true });
  }

  function tap(event) {
    const now = { at: performance.now(), x: event.clientX, y: event.clientY };
    const isSecond = now.at - tapped.at < DOUBLE_MS && Math.hypot(now.x - tapped.x, now.y - tapped.y) < 32;
    tapped = isSecond ? { at: 0, x: 0, y: 0 } : now;
    if (isSecond) toggle(now);
    else if (event.pointerType === "mouse" && event.target === stage && scale === 1 && !isOnImage(now)) leave();
  }

  function isOnImage(point) {
    const box = image.getBoundingClientRect();
    return point.x >= box.left && point.x <= box.right && point.y >= box.top && point.y <= box.bottom;
  }

  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, end);
  // The browser would drag a ghost of the picture along.
  image.draggable = false;

  return {
    reset,
    step: (factor) => zoomTo(scale * factor, centre(), { smooth: true }),
    toggle: () => toggle(centre()),
  };
}
