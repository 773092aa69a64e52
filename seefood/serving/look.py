"""How the page looks: legible colours (WCAG AA) in light and dark, one screen on a laptop, one column on a phone."""

import gradio as gr

THEME = gr.themes.Soft(
    primary_hue="orange", secondary_hue="amber", font=["system-ui", "sans-serif"], font_mono=["monospace"]
).set(
    background_fill_primary="*neutral_50",  # Soft's own, which `set` would forget
    background_fill_primary_dark="*neutral_950",
    block_background_fill="white",
    block_background_fill_dark="*neutral_800",
    # Soft's own orange on pale orange and pale gray on white have contrasts of 2.5 to 1; AA asks for 4.5.
    block_label_background_fill_dark="*primary_900",
    block_label_text_color="*primary_800",
    block_label_text_color_dark="*primary_200",
    block_title_text_color="*primary_800",
    block_title_text_color_dark="*primary_200",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    checkbox_border_color="*neutral_500",
    checkbox_border_color_dark="*neutral_400",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
)

CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; padding: 0 16px !important; }
.gradio-container > .main { padding: 12px 0 0 !important; }
.gradio-container main { padding: 0 !important; gap: 10px; }
.gradio-container main .column, .gradio-container main .row { gap: 10px; }

#title h1 { margin: 0; font-size: 1.6rem; letter-spacing: -0.01em; }
#title p { margin: 0; }
#about, #about p { font-size: 0.8rem; line-height: 1.45; margin: 0; color: var(--body-text-color-subdued); }
#about code { font-size: 0.75rem; }
footer { margin: 4px 0 !important; }
footer .divider { display: none; }
footer .show-api { display: flex !important; }  /* which Gradio hides on a phone */

#verdict { min-height: 1.9rem; }
#verdict p { margin: 0; font-size: 1.05rem; }
#bars .confidence-set { margin: 0 0 2px; }
#bars .confidence-set:hover .bar, #bars .confidence-set:focus-visible .bar { background: var(--primary-600); }
#bars { font-size: 0.9rem; }
#bars button, #bars .text, #bars .confidence { font-family: var(--font); font-variant-numeric: tabular-nums; }
#bars .container { padding-bottom: 6px; }

/* The name of a long dish must not run under the buttons beside it. */
#heat label { max-width: calc(100% - 84px); overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
#heat label span { flex-shrink: 0; }

#examples .html-container { padding: 0; }
#examples .photos { display: grid; grid-template-columns: repeat(5, 1fr); gap: 8px; }
#examples button {
    padding: 0; aspect-ratio: 3 / 2; overflow: hidden; cursor: pointer;
    border: 1px solid var(--border-color-primary); border-radius: 8px;
}
#examples img { width: 100%; height: 100%; object-fit: cover; margin: 0; display: block; transition: transform 0.15s; }
#examples button:hover img { transform: scale(1.06); }
#examples button:hover, #examples button:focus-visible { border-color: var(--primary-600); }
button:focus-visible, a:focus-visible, input:focus-visible {
    outline: 3px solid var(--primary-600) !important; outline-offset: 2px;
}

#feedback { gap: 4px; }
#feedback .answer { align-items: center; flex-wrap: nowrap; }
#feedback p { margin: 0; white-space: nowrap; }
#feedback .answer .block { overflow: visible !important; }
#feedback .answer .block { flex-grow: 1; }
#feedback .answer .block:first-of-type { flex: 0 0 auto; width: auto; }
#feedback > .block { padding: 4px 8px; background: none; border-width: 0 !important; box-shadow: none; }
#thanks p { margin: 0; }
#feedback button { flex-grow: 0; white-space: nowrap; }

@media (max-width: 640px) {
    .gradio-container { padding: 0 10px !important; }
    #title p { font-size: 0.9rem; }
    #photo, #photo > * { max-height: 240px; }
    #heat { height: 230px !important; }
    /* Its photos must not make the page wider. */
    #examples .photos { display: flex; overflow-x: auto; contain: inline-size; padding-bottom: 4px; }
    #examples button { flex: 0 0 84px; }
    #feedback .answer { flex-wrap: wrap; }
    #feedback .answer .block:first-of-type { flex-basis: 100%; }
}
@media (prefers-reduced-motion: reduce) { #examples img { transition: none; } }
"""
