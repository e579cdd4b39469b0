  // Presenter mode: large type for a projector, and the arrow keys (or a clicker) move the step of the picture that is
  // below the pointer, or else nearest to the middle of the window. It stays on from page to page until Escape.
  {
    const root = document.documentElement, button = document.querySelector("button.present");
    const hosts = (top) => [...top.querySelectorAll("*")].filter((one) => one.shadowRoot).map((one) => one.shadowRoot);
    const deep = (top, selector) => [...top.querySelectorAll(selector), ...hosts(top).flatMap((inner) => deep(inner, selector))];
    const set = (on) => {
      root.dataset.presenter = on ? "on" : "off";
      button.setAttribute("aria-pressed", String(on));
      document.cookie = `labkit-presenter=${on ? "on" : "off"};path=/;max-age=31536000;SameSite=Lax`;
      dispatchEvent(new Event("resize"));
    };
    const far = (one) => {
      const { top, bottom } = one.getBoundingClientRect();
      return one.matches(":hover") ? -1 : Math.abs((top + bottom) / 2 - innerHeight / 2);
    };
    const shown = (one) => {
      const { top, bottom, width } = one.getBoundingClientRect();
      return width > 0 && bottom > 0 && top < innerHeight;
    };
    const movable = () => {
      const pictures = deep(document, ".js-plotly-plot").filter((one) => one._fullLayout?.sliders?.some((slider) => slider.visible !== false && slider.steps?.length));
      const sliders = deep(document, ".noUi-target");
      return [...pictures, ...sliders].filter(shown).sort((one, other) => far(one) - far(other))[0];
    };
    const move = (one, step) => {
      if (one.matches(".noUi-target")) {
        one.querySelector(".noUi-handle")?.dispatchEvent(new KeyboardEvent("keydown", { key: step > 0 ? "ArrowRight" : "ArrowLeft", bubbles: true }));
        return;
      }
      const slider = one._fullLayout.sliders[0], to = Math.min(slider.steps.length - 1, Math.max(0, slider.active + step));
      const Plotly = globalThis.Plotly, { method, args } = slider.steps[to];
      if (!Plotly || to === slider.active) return;
      Plotly.relayout(one, { "sliders[0].active": to }).then(() => Plotly[method](one, ...args)).catch(() => {}); // the next step came first
    };
    button.addEventListener("click", () => set(root.dataset.presenter !== "on"));
    addEventListener("keydown", (event) => {
      if (root.dataset.presenter !== "on" || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const target = event.composedPath()[0];
      if (target.closest?.("input, textarea, select, [contenteditable='true']")) return;
      if (event.key === "Escape") return set(false);
      const step = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 }[event.key];
      const own = target.closest?.("[role='slider'], [role='application'], [role='tab'], [role='listbox'], [role='grid'], canvas");
      const one = step && !own ? movable() : null;
      if (!one) return; // nothing to move: the keys scroll the page, as they always do
      move(one, step);
      event.preventDefault();
    }, true);
    if (/(^|; )labkit-presenter=on/.test(document.cookie)) set(true);
  }
