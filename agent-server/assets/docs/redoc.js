// Redoc on this server's own document, in the system's fonts.
window.addEventListener('load', () => {
  Redoc.init('/openapi.json', {
    hideDownloadButton: false,
    theme: { typography: { fontFamily: 'system-ui, sans-serif', headings: { fontFamily: 'system-ui, sans-serif' } } },
  }, document.getElementById('redoc'));
});
