// The style of the timeline, added once. Sizes are fixed: nothing here is ever measured to set its own height.

const CSS = `
.glv-timeline { display:flex; min-height:204px; flex-direction:column; gap:2px; width:100%; height:100%; box-sizing:border-box;
  font:11px/14px system-ui,sans-serif; color:var(--input-text,#ddd); user-select:none; overflow:hidden; outline:none; }
.glv-bar { display:flex; gap:3px; height:18px; flex:none; align-items:center; }
.glv-bar button { all:unset; cursor:pointer; padding:0 5px; height:16px; border-radius:3px; background:#ffffff14; }
.glv-bar button:hover, .glv-bar button:focus-visible { background:#ffffff30; }
.glv-cost { margin-left:auto; opacity:.75; white-space:nowrap; overflow:hidden; text-overflow:ellipsis; }
.glv-view { flex:none; height:104px; overflow-x:auto; overflow-y:hidden; position:relative; scrollbar-width:thin;
  background:#00000030; border-radius:4px; }
.glv-inner { position:relative; height:92px; min-width:100%; }
.glv-ruler { position:absolute; left:0; right:0; top:0; height:14px; overflow:hidden; }
.glv-tick { position:absolute; top:0; padding-left:2px; border-left:1px solid #ffffff40; opacity:.8; font-size:10px; }
.glv-strip { position:absolute; left:0; right:0; top:15px; height:40px; }
.glv-segment { position:absolute; top:0; bottom:0; box-sizing:border-box; overflow:hidden; padding:1px 4px 0 6px;
  color:#14181d; border-right:1px solid #00000055; white-space:nowrap; text-overflow:ellipsis; cursor:text; }
.glv-segment b { font-weight:600; margin-right:4px; }
.glv-segment.glv-narrow { padding:1px 0 0 1px; } .glv-narrow b { margin:0; font-size:8px; letter-spacing:-.4px; }
.glv-segment.glv-chosen { box-shadow:inset 0 0 0 2px #fff; }
.glv-fade { position:absolute; top:0; bottom:0; pointer-events:none; opacity:.85; }
.glv-border { position:absolute; top:0; height:28px; width:9px; margin-left:-4px; cursor:ew-resize; z-index:2;
  outline:none; touch-action:none; }
.glv-border::after { content:""; position:absolute; left:3px; top:0; bottom:-12px; width:2px; background:#fff9; }
.glv-border:hover::after, .glv-border:focus::after { background:#fff; width:3px; }
.glv-grip { position:absolute; bottom:0; height:11px; width:11px; margin-left:-5px; cursor:col-resize; z-index:3;
  touch-action:none; outline:none; clip-path:polygon(50% 0,100% 100%,0 100%); background:#ffffffa0; }
.glv-grip:hover, .glv-grip:focus { background:#fff; }
.glv-plan { position:absolute; left:0; top:58px; width:100%; height:34px; }
.glv-chunk { position:absolute; z-index:1; opacity:0; cursor:zoom-in; border:0; padding:0; }
.glv-chunk:focus-visible { opacity:.5; }
.glv-edit { flex:none; height:18px; width:100%; box-sizing:border-box; background:var(--comfy-input-bg,#222);
  color:var(--input-text,#ddd); border:1px solid #ffffff30; border-radius:3px; font:inherit; padding:0 4px; }
.glv-message { flex:1 1 auto; min-height:0; overflow:auto; white-space:pre-wrap; font:11px/13px ui-monospace,monospace;
  user-select:text; scrollbar-width:thin; }
.glv-message.glv-hint { opacity:.55; font-family:inherit; white-space:normal; }
.glv-message.glv-wrong { color:#ff8a80; } .glv-message.glv-doubt { color:#ffcc66; }
.glv-message u { text-decoration:underline wavy #ff5252; text-underline-offset:2px; }
.glv-look { position:fixed; z-index:9999; background:#111; padding:6px; border-radius:6px; box-shadow:0 4px 24px #000a;
  cursor:zoom-out; font:12px system-ui; color:#ddd; }
.glv-look img { display:block; min-width:240px; max-width:60vw; image-rendering:auto; }
`;

/** Adds the style to the page, the first time. */
export function addStyle() {
  if (document.getElementById("glv-timeline-style")) return;
  document.head.append(Object.assign(document.createElement("style"), { id: "glv-timeline-style", textContent: CSS }));
}
