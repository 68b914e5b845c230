/* Before the page is drawn: take over the choice of light or dark that the reader has made in the book, and say what to do
   where the page was opened as a file. */
const theme = localStorage.getItem('theme');
if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
if (location.protocol === 'file:')
  addEventListener('DOMContentLoaded', () => { document.getElementById('from-file').hidden = false; });
