// Behaviour of the results: the race, copying, playing a line, saving a picture. Everything is found by class and
// data attribute in what components/report wrote, so that HTML which arrives later needs no wiring.
() => {
  if (window.__comparePage) return;
  window.__comparePage = true;

  const LONGEST_S = 10; // a replay that would last longer is played faster, and says so
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const result = () => document.querySelector("#result");

  const say = (text) => {
    let region = document.querySelector("#spoken");
    if (!region) {
      region = Object.assign(document.createElement("div"), { id: "spoken", className: "spoken-only" });
      region.setAttribute("role", "status");
      document.body.append(region);
    }
    region.textContent = text;
  };

  const flash = (button, text) => {
    const label = button.dataset.label ?? (button.dataset.label = button.textContent);
    button.textContent = text;
    say(text);
    clearTimeout(button.timer);
    button.timer = setTimeout(() => { button.textContent = label; }, 2000);
  };

  // --- the race: bars and words from 0, at the pace at which they were measured

  const seconds = (element, name) => Number(element.dataset[name]) || 0;

  function hold(element, frames, duration, pace) {
    element.getAnimations().forEach((animation) => animation.cancel());
    return element.animate(frames, { duration: (1000 * duration) / pace, easing: "linear" });
  }

  function race(section) {
    const scale = seconds(section, "scaleS") || 1;
    const pace = Math.max(1, scale / LONGEST_S);
    const button = section.querySelector(".replay");
    if (calm()) return flash(button, "No motion: your system asks for none");
    if (pace > 1) flash(button, `Playing ${pace.toFixed(1)} times faster`);
    for (const lane of section.querySelectorAll(".race-lane")) {
      const total = seconds(lane, "encoderS") + seconds(lane, "decoderS");
      const bar = lane.querySelector(".race-bar");
      if (!bar || !total) continue;
      const end = 100 * (1 - total / scale);
      hold(bar, [{ clipPath: "inset(0 100% 0 0)" }, { clipPath: `inset(0 ${end}% 0 0)` }], total, pace);
      const time = lane.querySelector(".race-time");
      if (time) hold(time, [{ opacity: 0 }, { opacity: 0 }], total, pace);
      const card = section.closest(".result")?.querySelector(`.card[data-lane="${CSS.escape(lane.dataset.lane)}"]`);
      for (const word of card?.querySelectorAll(".word[data-at-s]") ?? []) {
        hold(word, [{ opacity: 0 }, { opacity: 0 }], seconds(word, "atS"), pace);
      }
    }
  }

  // --- while a model runs, its bar grows as the seconds pass

  function grow(card, passed) {
    const lane = card.closest(".result")?.querySelector(`.race-lane.pending[data-lane="${CSS.escape(card.dataset.lane)}"]`);
    if (!lane) return;
    const scale = seconds(lane.closest(".race"), "scaleS") || 1;
    lane.querySelector("rect").setAttribute("width", Math.min(1000, (1000 * passed) / scale).toFixed(1));
    lane.querySelector(".race-time").textContent = `${passed.toFixed(1)} s`;
  }

  const started = new Map(); // lane -> when it was first seen running
  let timer = null;

  function follow() {
    timer = null;
    const running = [...document.querySelectorAll("#result .card[data-state=running]")];
    const lanes = new Set(running.map((card) => card.dataset.lane));
    for (const lane of started.keys()) if (!lanes.has(lane)) started.delete(lane);
    for (const card of running) {
      if (!started.has(card.dataset.lane)) started.set(card.dataset.lane, performance.now());
      let clock = card.querySelector(".clock");
      if (!clock) {
        clock = Object.assign(document.createElement("p"), { className: "clock" });
        clock.setAttribute("aria-hidden", "true");
        card.append(clock);
      }
      const passed = (performance.now() - started.get(card.dataset.lane)) / 1000;
      clock.textContent = `${passed.toFixed(1)} s`;
      clock.style.setProperty("--passed", Math.min(1, passed / LONGEST_S));
      grow(card, passed);
    }
    if (running.length) timer = setTimeout(follow, 100);
  }

  // --- a new result: on a narrow window it is brought into view

  function addCopyButtons() {
    for (const card of document.querySelectorAll(".card[data-state=done]:not(:has(.copy-card))")) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "copy-card", textContent: "Copy" });
      button.setAttribute("aria-label", `Copy what ${label(card)} wrote`);
      card.prepend(button);
    }
  }

  let shownRun = false;

  function arrived() {
    addCopyButtons();
    const section = result()?.querySelector(".result, .cards");
    const fresh = section?.querySelector(".card[data-state=waiting], .card[data-state=loading], .card[data-state=running]");
    if (fresh && !shownRun) {
      const top = result().getBoundingClientRect().top;
      if (top > innerHeight * 0.6) result().scrollIntoView({ block: "start", behavior: calm() ? "auto" : "smooth" });
    }
    shownRun = Boolean(fresh);
    if (timer === null) follow();
  }
  new MutationObserver(arrived).observe(document.body, { childList: true, subtree: true });

  // --- a line of a transcript, played

  function play(line) {
    const source = document.querySelector("#clip a[download]")?.href;
    if (!source) return;
    const player = window.__linePlayer ?? (window.__linePlayer = new Audio());
    const start = seconds(line, "startS"), end = seconds(line, "endS");
    if (!player.paused && player.dataset.line === String(start)) return player.pause();
    if (player.src !== source) player.src = source;
    player.dataset.line = String(start);
    player.currentTime = start;
    player.ontimeupdate = () => { if (end && player.currentTime >= end) player.pause(); };
    player.onpause = () => line.classList.remove("playing");
    line.classList.add("playing");
    player.play().catch(() => say("This clip cannot be played here."));
  }

  // --- the result as a picture

  function wrapped(context, text, width) {
    const lines = [""];
    for (const word of text.split(/\s+/)) {
      const longer = `${lines.at(-1)} ${word}`.trim();
      if (context.measureText(longer).width > width && lines.at(-1)) lines.push(word);
      else lines[lines.length - 1] = longer;
    }
    return lines;
  }

  const words = (root, selector) => root.querySelector(selector)?.textContent.replace(/\s+/g, " ").trim() ?? "";

  const label = (card) => {
    const heading = card.querySelector("h3")?.cloneNode(true);
    heading?.querySelectorAll("small").forEach((detail) => detail.remove());
    return heading?.textContent.trim() ?? "";
  };

  function transcript(card) {
    const copy = card?.querySelector(".transcript")?.cloneNode(true);
    copy?.querySelectorAll("del").forEach((gone) => gone.remove());
    return copy?.textContent.replace(/\s+/g, " ").trim() ?? "";
  }

  function picture(section) {
    const canvas = document.createElement("canvas"), width = 1200, edge = 64, inner = width - 2 * edge;
    const context = canvas.getContext("2d");
    const font = (size, weight = 400) => `${weight} ${size}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;
    const lanes = [...section.querySelectorAll(".race-lane")];
    const scale = seconds(section.querySelector(".race") ?? section, "scaleS") || 1;
    const draw = (text, x, y, style, colour = "#1f2937") => {
      context.font = style;
      context.fillStyle = colour;
      context.fillText(text, x, y);
    };
    const paint = (really) => {
      let y = edge + 20;
      const text = (content, size, weight, colour, most = 3) => {
        context.font = font(size, weight);
        const all = wrapped(context, content, inner), lines = all.slice(0, most);
        if (all.length > most) lines[most - 1] += " …";
        for (const line of lines) {
          if (really) draw(line, edge, y, font(size, weight), colour);
          y += size * 1.35;
        }
      };
      text(words(section, ".result-head h2"), 26, 600, "#1f2937", 2);
      text(words(section, ".models"), 22, 400, "#475569", 1);
      const figure = words(section, ".headline .figure");
      if (figure) { y += 90; if (really) draw(figure, edge, y, font(110, 700)); y += 56; } else { y += 24; }
      text(words(section, ".headline .claim"), 28, 600);
      text(words(section, ".headline .range"), 22, 400, "#475569");
      y += 16;
      for (const lane of lanes) {
        const colour = getComputedStyle(lane).getPropertyValue("--lane").trim() || "#2563eb";
        const encoder = seconds(lane, "encoderS"), total = encoder + seconds(lane, "decoderS");
        const time = words(lane, ".race-time"), from = edge + 250, room = inner - 250 - 130;
        if (really) {
          draw(words(lane, ".race-name"), edge, y + 22, font(22, 600));
          context.fillStyle = colour;
          context.fillRect(from, y, (room * total) / scale, 30);
          context.fillStyle = "rgba(255, 255, 255, 0.45)";
          context.fillRect(from, y, (room * encoder) / scale, 30);
          draw(time, from + (room * total) / scale + 10, y + 22, font(20));
        }
        y += 52;
      }
      y += 14;
      if (lanes.length) text("Light: encoder, hears the audio. Dark: decoder, writes the words.", 18, 400, "#475569", 1);
      y += 28;
      for (const card of section.querySelectorAll(".card[data-state=done]")) {
        text(`${label(card)}:`, 20, 600);
        text(transcript(card) || "(no words)", 22, 400, "#1f2937", 4);
        y += 12;
      }
      y += 8;
      text(words(section, ":scope > .where").split(" RTFx")[0], 18, 400, "#475569", 2);
      text(location.origin + location.pathname, 18, 400, "#475569", 1);
      return y + edge - 20;
    };
    canvas.width = width;
    canvas.height = Math.ceil(paint(false));
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    paint(true);
    return canvas;
  }

  function save(button) {
    const section = result()?.querySelector(".result");
    if (!section) return;
    picture(section).toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${section.dataset.clip || "comparison"}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      flash(button, "Saved");
    });
  }

  async function copy(button, text) {
    try {
      await navigator.clipboard.writeText(text);
      flash(button, "Copied");
    } catch {
      flash(button, "Your browser does not let this page copy");
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches(".replay")) race(button.closest(".race") ?? button.closest(".result").querySelector(".race"));
    else if (button.matches(".line")) play(button);
    else if (button.matches("[data-copy]")) copy(button, button.dataset.copy);
    else if (button.matches(".copy-card")) copy(button, transcript(button.closest(".card")));
    else if (button.matches("[data-save-picture]")) save(button);
  });
}
